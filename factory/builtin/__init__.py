"""The small generators that ship with ViewMill, how they were made, and how to make them again."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import UserError

NAMES = ("emoji-diffusion",)


def folder(name: str) -> Path:
    """Return the folder of a built-in generator, e.g. of `builtin:emoji-diffusion`.

    Raises: UserError naming the known ones, or where this copy of ViewMill was packed without the weights.
    """
    plain = name.removeprefix("builtin:")
    if plain not in NAMES:
        known = ", ".join(f"builtin:{one}" for one in NAMES)
        raise UserError(f"no built-in generator is called {name!r}: known are {known}")
    found = Path(__file__).parent / plain
    if not (found / "model_index.json").exists():
        raise UserError(f"builtin:{plain} has no weights in {found}: install ViewMill from a full checkout or wheel")
    return found
