"""Tars: bytes from bytes, offsets that point at the data, names that cannot leave a folder."""

import hashlib
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import CorruptError
from manifests.shard import check_member_name, file_sha256, read_headers, write_tar

MEMBERS = [
    ("a-000000000.json", b'{"key":"a"}'),
    ("a-000000000.v00.png", bytes(range(256)) * 3),
    ("a-000000001.json", b""),
]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=1500), max_size=6))
def test_offsets_point_at_the_bytes_and_the_headers_agree(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("tar") / "t.tar"
    members = write_tar(path, [(f"k{i}.bin", data) for i, data in enumerate(contents)])
    whole = path.read_bytes()
    assert [whole[m.offset : m.offset + m.size] for m in members] == contents
    assert [m.sha256 for m in members] == [hashlib.sha256(data).hexdigest() for data in contents]
    assert [(m.name, m.offset, m.size) for m in read_headers(path)] == [(m.name, m.offset, m.size) for m in members]


def test_the_bytes_of_a_tar_are_golden(tmp_path):
    write_tar(tmp_path / "t.tar", MEMBERS)
    assert file_sha256(tmp_path / "t.tar") == "04b313a709c9c6f026a51a2953fe55922e2b28230ce7733f433d1c88eeca5ba0"


def test_two_writings_are_equal_whatever_the_time_and_the_user(tmp_path, monkeypatch):
    write_tar(tmp_path / "a.tar", MEMBERS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("os.getuid", lambda: 4242)
    write_tar(tmp_path / "b.tar", MEMBERS)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_other_programs_extract_it(tmp_path):
    write_tar(tmp_path / "t.tar", MEMBERS)
    listed = subprocess.run(["tar", "-tvf", tmp_path / "t.tar"], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == [name for name, _ in MEMBERS]
    assert listed.stderr == ""
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar} == {(0, 0, 0, "", 0o444)}


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/", ".hidden", "a/.b", "C:\\x", "a\nb", "é.jpg", "x" * 101, "./a"],
)
def test_names_that_are_not_plain_and_relative_are_refused(tmp_path, name):
    with pytest.raises(CorruptError, match="plain and relative"):
        check_member_name(name)
    with pytest.raises(CorruptError):
        write_tar(tmp_path / "t.tar", [(name, b"x")])


def test_a_member_given_twice_is_refused(tmp_path):
    with pytest.raises(CorruptError, match="given twice"):
        write_tar(tmp_path / "t.tar", [("a", b"1"), ("a", b"2")])


def test_a_cut_tar_is_an_error_that_says_how_far_it_could_be_read(tmp_path):
    path = tmp_path / "t.tar"
    members = write_tar(path, [("a.bin", b"x" * 700), ("b.bin", b"y" * 700)])
    path.write_bytes(path.read_bytes()[: members[1].offset + 10])
    with pytest.raises(CorruptError, match=r"t\.tar: no readable tar"):
        read_headers(path)


def test_a_member_of_less_than_no_bytes_leads_no_reader_back_for_ever(tmp_path):
    write_tar(tmp_path / "t.tar", [("a", b"1")])
    header = bytearray((tmp_path / "t.tar").read_bytes()[:512])
    header[124:136], header[148:156] = (-1536).to_bytes(12, "big", signed=True), b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:1024] + bytes(header) + bytes(1024))
    with pytest.raises(CorruptError, match="is no plain file with a USTAR header"):
        read_headers(tmp_path / "t.tar")
