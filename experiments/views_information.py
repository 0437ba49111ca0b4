"""How much the views of an arm share, by the command `trainer mi`; what was measured once is read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.arms import run_all


@dataclass(frozen=True)
class Views:
    """A kind of views on a data set, and how large they are."""

    name: str
    data: Path | str
    kind: str  # as `trainer mi --view` takes it
    size_px: int = 32


def information(wanted: Sequence[Views], out: Path, *, jobs: int, options: Sequence[str] = ()) -> dict[str, Any]:
    """Measure all kinds of views with one setting, and return what `mi --json` says of each."""
    run_all([(f"{one.name}: I_NCE", _command(one, out, options), _file(one, out)) for one in wanted], out, jobs)
    return {one.name: json.loads(_file(one, out).read_text(encoding="utf-8"))[0] for one in wanted}


def _command(one: Views, out: Path, options: Sequence[str]) -> tuple[str, ...]:
    _file(one, out).parent.mkdir(parents=True, exist_ok=True)
    where = ("--view", one.kind, "--size-px", str(one.size_px), "--out", str(_file(one, out)))
    return ("trainer", "mi", str(one.data), *where, *options)


def _file(one: Views, out: Path) -> Path:
    return out / "information" / f"{one.name}.json"
