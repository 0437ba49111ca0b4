"""Signatures: by SSH and PEM keys, over root, name and licence; whoever did not sign is not believed."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from manifests import open_dataset
from manifests.errors import CorruptError, UserError
from manifests.share import share
from manifests.signing import check_signed, fingerprint, public_keys, sign
from tests.manifests.making import make_dataset


def write_key(folder: Path, name: str, form=PrivateFormat.OpenSSH, lock=None) -> tuple[Path, str]:
    key = Ed25519PrivateKey.generate()
    path = folder / name
    path.write_bytes(key.private_bytes(Encoding.PEM, form, lock or NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_suffix(".pub").write_text(f"{public} somebody@somewhere\n")
    return path, public


@pytest.fixture
def data(tmp_path):
    make_dataset(tmp_path / "data", tmp_path)
    return open_dataset(tmp_path / "data")


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_a_signature_is_believed_by_its_key_and_travels(data, tmp_path, form):
    key, public = write_key(tmp_path, "key", form)
    other, _ = write_key(tmp_path, "other")
    assert sign(data, key) == fingerprint(public)
    sign(data, key)
    share(data.url, str(tmp_path / "copy"))
    copy = open_dataset(tmp_path / "copy")
    for trusted in (public, str(key.with_suffix(".pub"))):
        assert check_signed(copy, trusted) == fingerprint(public)
    with pytest.raises(CorruptError, match=r"is not signed by SHA256:.*; it is by SHA256:"):
        check_signed(copy, str(other.with_suffix(".pub")))
    sign(copy, other)
    assert check_signed(copy, str(other.with_suffix(".pub")))


def test_ssh_keygen_agrees_on_the_fingerprint(data, tmp_path):
    key, public = write_key(tmp_path, "key")
    try:
        shown = subprocess.run(["ssh-keygen", "-lf", str(key.with_suffix(".pub"))], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no ssh-keygen here")
    assert fingerprint(public) in shown.stdout.decode()


def test_a_signature_covers_name_and_licence_and_no_other_version(data, tmp_path):
    key, public = write_key(tmp_path, "key")
    sign(data, key)
    for change in ({"licence": "MIT"}, {"name": "stolen"}):
        data.version = data.version.model_copy(update=change)
        with pytest.raises(CorruptError, match="is no valid signature"):
            check_signed(data, public)
        data.version = open_dataset(data.url).version


@pytest.mark.parametrize("damage", [b"{}", b"x", b'{"public_key":"ssh-ed25519 AAAA","signature":"AA==","root":""}'])
def test_a_damaged_signature_is_named(data, tmp_path, damage):
    key, public = write_key(tmp_path, "key")
    sign(data, key)
    [path] = Path(data.url).glob("signatures/*/*.json")
    assert set(json.loads(path.read_bytes())) == {"public_key", "root", "signature"}
    path.write_bytes(damage)
    with pytest.raises(CorruptError, match=rf"{path.name} is no valid signature"):
        check_signed(data, public)


def test_a_locked_key_asks_for_its_passphrase(data, tmp_path, monkeypatch):
    key, public = write_key(tmp_path, "key", PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    with pytest.raises(UserError, match="key: "):
        sign(data, key)
    with pytest.raises(UserError, match="does not open it"):
        sign(data, key, ask=lambda path: "wrong")
    assert sign(data, key, ask=lambda path: "open") == fingerprint(public)
    monkeypatch.setenv("VIEWMILL_KEY_PASSPHRASE", "open")
    assert sign(data, key) == fingerprint(public)


def test_other_keys_and_none_are_one_line(data, tmp_path):
    rsa = tmp_path / "rsa"
    rsa.write_bytes(
        generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    with pytest.raises(UserError, match="expected an Ed25519 key: ssh-keygen -t ed25519"):
        sign(data, rsa)
    for text in ("nothing\n", "ssh-rsa AAAA x\n", ""):
        (tmp_path / "keys").write_text(text)
        with pytest.raises(UserError, match="expected Ed25519 public keys"):
            public_keys(str(tmp_path / "keys"))
    with pytest.raises(UserError, match="no readable key"):
        public_keys(str(tmp_path / "none"))


def test_keys_are_read_from_the_files_that_ssh_has(tmp_path):
    _, one = write_key(tmp_path, "one")
    _, two = write_key(tmp_path, "two")
    (tmp_path / "keys").write_text(f'# a comment\nno-pty,command="x" {one} a@b\nalice@example.org {two}\n')
    assert public_keys(str(tmp_path / "keys")) == [one, two]
