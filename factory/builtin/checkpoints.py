"""Checkpoints that a kill cannot spoil: written aside, flushed, then renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save(folder: Path, state: dict[str, Any], *, images_seen: int) -> None:
    """Write a checkpoint and remove all older ones but the last."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{images_seen:012d}.pt"
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    for old in sorted(folder.glob("*.pt"))[:-2]:
        old.unlink()


def load_newest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Return (images_seen, state) of the newest checkpoint, or None."""
    newest = max(folder.glob("*.pt"), default=None)
    if newest is None:
        return None
    return int(newest.stem), torch.load(newest, weights_only=True)
