"""Which code this is: the commit of the checkout the packages lie in."""

from __future__ import annotations

import subprocess
from pathlib import Path

GIT_S = 60.0  # a network file system may hang
_CHECKOUT = Path(__file__).parents[1]


def code_commit() -> str | None:
    """Return this checkout's commit, ending in -dirty where tracked files differ from it; None outside a checkout."""
    if not (_CHECKOUT / ".git").exists():  # installed: whatever repository it lies in is another
        return None
    command = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_S).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
