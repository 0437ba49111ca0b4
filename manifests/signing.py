"""Who vouches for a version: Ed25519 signatures over its root, name and licence, by SSH or PEM keys.

A signature lies at `signatures/<root>/<16 hex of the key's SHA-256>.json`. It says that the holder of a key signed, not
who that is: whoever checks brings the keys that they trust.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manifests.canonical import canonical_json, sha256_hex
from manifests.dataset import DataSet
from manifests.documents import VersionDoc
from manifests.errors import CorruptError, UserError
from manifests.store import Store

_KIND = "ssh-ed25519"
_ARMOUR = "-----BEGIN"


def message(version: VersionDoc) -> bytes:
    """Return what is signed: the root covers all content, and name and licence come with it."""
    return canonical_json(["viewmill version", 1, version.root(), version.name, version.licence])


def sign(dataset: DataSet, key: Path, *, ask: Callable[[str], str] | None = None) -> str:
    """Sign a version with a private key (OpenSSH or PEM); returns the fingerprint of the key.

    Raises: UserError for a key that is none, or no Ed25519 one, or whose passphrase is wrong.
    """
    private = _private(key, ask)
    public = _public_line(private.public_key())
    signature = base64.b64encode(private.sign(message(dataset.version))).decode()
    document = {"public_key": public, "root": dataset.root, "signature": signature}
    name = f"signatures/{dataset.root}/{sha256_hex(public.encode())[:16]}.json"
    Store.open(dataset.url).put_bytes(canonical_json(document), name)
    return fingerprint(public)


def signers(dataset: DataSet) -> list[str]:
    """Return the public keys, as SSH writes them, whose signature of this version is valid.

    Raises: CorruptError naming a signature that is not.
    """
    return [_checked(name, data, dataset) for name, data in _stored(dataset)]


def check_signed(dataset: DataSet, trusted: str) -> str:
    """Check that one of the keys in a file, or the key in a text, signed this version; returns its fingerprint.

    Raises: CorruptError if none of them did; UserError if there is no key to trust.
    """
    keys = public_keys(trusted)
    for public in signers(dataset):
        if public in keys:
            return fingerprint(public)
    told = ", ".join(map(fingerprint, keys))
    there = ", ".join(map(fingerprint, signers(dataset))) or "nobody"
    raise CorruptError(f"{dataset.url}: version {dataset.root[:12]} is not signed by {told}; it is by {there}")


def fingerprint(public: str) -> str:
    """Return a public key's fingerprint as ssh-keygen shows it."""
    import hashlib

    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def public_keys(text: str) -> list[str]:
    """Return the Ed25519 keys of a file (id_ed25519.pub, authorized_keys, allowed_signers, PEM), or of a text.

    Raises: UserError if there is none.
    """
    content = text if text.startswith(_KIND) else _read(Path(text).expanduser())
    if content.startswith(_ARMOUR):
        return [_public_line(_loaded(content, text))]
    found = []
    for line in content.splitlines():
        words = line.split()
        place = words.index(_KIND) if _KIND in words else len(words)
        if not line.startswith("#") and len(words) > place + 1:
            found.append(f"{_KIND} {words[place + 1]}")
    if not found:
        raise UserError(f"{text}: expected Ed25519 public keys, a line each: {_KIND} AAAA…")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no readable key: {error}") from error


def _stored(dataset: DataSet) -> list[tuple[str, bytes]]:
    store = dataset.homes.store(dataset.url)
    return [(name, store.get_bytes(name)) for name, _ in store.list(f"signatures/{dataset.root}")]


def _checked(name: str, data: bytes, dataset: DataSet) -> str:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        document: dict[str, Any] = json.loads(data)
        public = " ".join(str(document["public_key"]).split()[:2])
        key = _ed25519(load_ssh_public_key(public.encode()))
        key.verify(base64.b64decode(document["signature"], validate=True), message(dataset.version))
    except (ValueError, KeyError, TypeError, InvalidSignature, UserError, RecursionError) as error:
        raise CorruptError(f"{dataset.url}/{name} is no valid signature: {error or 'it does not fit'}") from error
    return public


def _ed25519(key: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        raise UserError(f"{type(key).__name__.strip('_')}: expected an Ed25519 key: ssh-keygen -t ed25519")
    return key


def _loaded(content: str, where: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _ed25519(load_pem_public_key(content.encode()))
    except ValueError as error:
        raise UserError(f"{where}: no public key: {error}") from error


def _public_line(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return str(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def _private(path: Path, ask: Callable[[str], str] | None) -> Any:
    """Load a private key; a passphrase comes from $VIEWMILL_KEY_PASSPHRASE or is asked for."""
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
    except ImportError as error:
        raise UserError("signing needs cryptography: pip install 'viewmill[share]'") from error
    content = _read(path.expanduser()).encode()
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
    passphrase = os.environ.get("VIEWMILL_KEY_PASSPHRASE")
    try:
        return _ed25519(load(content, passphrase.encode() if passphrase else None))
    except TypeError as error:
        if passphrase or ask is None:
            raise UserError(f"{path}: {error}") from error
    except ValueError as error:
        if passphrase or ask is None or "password" not in str(error).lower():
            raise UserError(f"{path}: no private key: {error}") from error
    try:
        return _ed25519(load(content, ask(str(path)).encode()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: the passphrase does not open it: {error}") from error
