"""What a command line knows of protocols and subjects before anything heavy is loaded."""

from __future__ import annotations

from manifests.errors import UserError
from manifests.target import local_path
from trainer.exported import export_folder

NAMES = (
    "knn",
    "linear",
    "few-shot",
    "prototypes",
    "fine-tune-few",
    "fine-tune",
    "retrieval",
    "zero-shot",
    "geometry",
)


def chosen(text: str) -> list[str]:
    """Return the protocols that `all` or a list such as knn,linear names.

    Raises: UserError naming those there are.
    """
    if text == "all":
        return list(NAMES)
    found = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if wrong := [name for name in found if name not in NAMES]:
        raise UserError(f"there is no protocol {wrong[0]!r}: choose all, or some of {','.join(NAMES)}")
    return found


def check_subject(name: str) -> None:
    """Refuse a folder that holds no encoder.

    Raises: UserError saying what is missing.
    """
    kind, colon, rest = name.partition(":")
    if name in ("pixels", "imagenet") or (colon and kind == "timm"):
        return
    export_folder(local_path(rest if colon and kind == "random" else name))
