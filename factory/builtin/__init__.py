"""The small generators that ship with ViewMill, how they were made, and how to make them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manifests.errors import UserError

INDEX = {"emoji-diffusion": "model_index.json", "emoji-stylegan2": "generator.json"}
FILES = {"emoji-walks": "emoji-stylegan2/walks.safetensors", "emoji-navigator": "emoji-stylegan2/navigator.safetensors"}


def folder(name: str) -> Path:
    """Return the folder of a built-in generator, e.g. of `builtin:emoji-diffusion`.

    Raises: UserError naming the known ones, or where this copy of ViewMill was packed without the weights.
    """
    plain = _known(name, INDEX)
    found = Path(__file__).parent / plain
    if not (found / INDEX[plain]).exists():
        raise UserError(f"builtin:{plain} has no weights in {found}: install ViewMill from a full checkout or wheel")
    return found


def file(name: str) -> Path:
    """Return a file that was learned on a built-in generator, e.g. `builtin:emoji-walks`.

    Raises: UserError naming the known ones.
    """
    return Path(__file__).parent / FILES[_known(name, FILES)]


def _known(name: str, known: Mapping[str, str]) -> str:
    plain = name.removeprefix("builtin:")
    if plain not in known:
        told = ", ".join(f"builtin:{one}" for one in known)
        raise UserError(f"nothing built-in of this kind is called {name!r}: known are {told}")
    return plain
