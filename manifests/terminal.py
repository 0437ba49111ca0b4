"""Text from data on a terminal: a prompt may hold sequences that move the cursor, recolour or reorder. Pure."""

from __future__ import annotations

import re
from typing import Any

# C0, DEL and C1 controls, marks and overrides of the writing direction, line separators, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(value: Any) -> str:
    """Return a value's text on one line, with all that a terminal would obey as \\x… and \\u… escapes."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], str(value))
