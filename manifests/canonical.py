"""The only form of a value that is ever hashed: one JSON text per value, on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value as UTF-8 with keys sorted by code point, no spaces, floats by shortest repr.

    Raises: ValueError for NaN, infinities and lone surrogates; TypeError for what JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def sha256_hex(data: bytes) -> str:
    """Return the 64 lower-case hex digits of the SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()
