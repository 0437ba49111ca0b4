"""The folder of a run that learns walks or a navigator: `<out>.run` beside the file it will write.

run.json pins what is learned on what; checkpoints, metrics.jsonl and measurements lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory.recipe import difference
from learning.checkpoint import CheckpointError
from learning.guard import NonFiniteError
from manifests.checkout import code_commit
from manifests.errors import ConflictError, CorruptError, UserError, interruptible
from manifests.target import check_file, replaced

Say = Callable[[str], None]


def run_folder(out: Path) -> Path:
    """Return where a run keeps its state.

    Raises: UserError for a name that is no file of safetensors.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a name that ends in .safetensors")
    return out.with_suffix(".run")


def pin(out: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Write what a run is when it begins, check it when it goes on; return its facts.

    Raises: ConflictError where the folder holds another run.
    """
    check_file(out)
    path = run_folder(out) / "run.json"
    if path.exists():
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
        if lines := difference(facts["identity"], identity):
            raise ConflictError(f"{path.parent} holds another run: {'; '.join(lines)}: choose another file")
        return facts
    facts = {"code": code_commit(), "identity": identity}
    with replaced(path) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def teller(images: int, say: Say) -> Callable[[dict[str, float]], None]:
    """Return what turns a line of metrics into a line of text."""

    def tell(line: dict[str, float]) -> None:
        left_s = max(0, images - line["images_seen"]) / line["images_per_s"]
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in line.items() if name != "images_seen")
        say(f"{line['images_seen']:,} of {images:,} images  {numbers}  left {left_s / 60:.1f} min")

    return tell


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Say in one line how a run ended early.

    Raises: TrainingStoppedError after a signal, UserError, CorruptError.
    """
    try:
        with interruptible(str(out)):
            yield
    except NonFiniteError as error:
        raise UserError(f"{out}: training diverged: {error}") from None
    except CheckpointError as error:
        raise CorruptError(f"{out}: {error}") from None
