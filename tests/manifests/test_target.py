"""A target that cannot be written is refused before any work, without a trace, and never holds half a file."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.errors import ConflictError, UserError
from manifests.target import check_file, check_folder, local_path, only_writer, replaced


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_url_is_no_local_path() -> None:
    assert local_path("a/b:c") == local_path(Path("a/b:c")) == Path("a/b:c")
    with pytest.raises(UserError, match=r"^s3://bucket/run: expected a local path"):
        local_path("s3://bucket/run")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("file/run", "a part of the path is a file"),
        ("file", "a part of the path is a file"),
        ("/proc/nope/run", "there is no such bucket or folder"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line_with_the_remedy(tmp_path: Path, target: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=words) as caught:
        check_folder(tmp_path / target)
    assert "\n" not in str(caught.value)


def test_asking_leaves_no_trace(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "run")
    check_file(tmp_path / "new" / "table")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(name="locked_folder")
def folder_of_another_user() -> Iterator[Path]:
    """Yield a folder that may be read only, to a test that is not root while it runs."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        if is_root:
            os.seteuid(65534)
        yield folder
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_without_rights_is_one_line_with_the_remedy(locked_folder: Path) -> None:
    with pytest.raises(UserError, match="permission denied: choose another target"):
        check_folder(locked_folder / "run")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is a folder of that name"):
        check_file(tmp_path)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for text in ("one", "two"):
        with replaced(path) as part:
            part.write_text(text)
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_too_large_keeps_the_old_one_and_says_so_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    full = pytest.raises(UserError, match=r"raise the limit \(ulimit -f\)")
    with full, replaced(path) as part, files_no_larger_than(1000):
        part.write_text("x" * 2000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys, time
from pathlib import Path
from manifests.target import only_writer
with only_writer(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_a_run_has_one_writer_and_a_killed_one_leaves_the_way_free(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "at work\n"
        with pytest.raises(ConflictError, match="another process is working on this run"), only_writer(run):
            pass
        other.send_signal(signal.SIGKILL)
    with only_writer(run):
        assert list(run.iterdir()) == []
