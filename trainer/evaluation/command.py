"""The commands `evaluate` and `compare` of `python -m trainer`: a table for people, JSON for scripts."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from manifests.errors import UserError
from manifests.target import check_file, local_path, replaced
from trainer.evaluation.one_method import remark_on_code
from trainer.evaluation.suite.command import SuiteRequest, comparison_lines, is_results, side_by_side, suite_lines
from trainer.evaluation.suite.names import NAMES
from trainer.exported import export_folder

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Evaluation
    from trainer.evaluation.evidence import Difference, Score


DEFAULT_SET = "clipart26"
RESULTS = Path("out/results")
Checkpoint = Annotated[Path, typer.Argument(parser=local_path, help="finished run, or exported encoder")]
JsonFile = Annotated[Path | None, typer.Option(parser=local_path, help="also write the JSON to this file")]
Results = Annotated[
    Path, typer.Option("--results", parser=local_path, help="with --suite: folder that rows are added to")
]


class Split(StrEnum):
    dev = "dev"
    test = "test"


def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="finished run or exported encoder; with --suite also timm:NAME[@FILE], random:RUN, …")
    ],
    dataset: Annotated[
        str, typer.Option("--set", help="clipart26, emoji; with --suite any data set's folder or URL")
    ] = DEFAULT_SET,
    split: Annotated[Split, typer.Option(help="dev to choose anything, test to publish")] = Split.dev,
    seed: Annotated[int, typer.Option(help="draws random weights")] = 0,
    baselines: Annotated[
        bool, typer.Option(help="without --suite: also score random weights, pixels and ImageNet's features")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    out: JsonFile = None,
    suite: Annotated[
        str | None, typer.Option(help=f"record protocols instead: all, or some of {','.join(NAMES)}")
    ] = None,
    results: Results = RESULTS,
    size_px: Annotated[int | None, typer.Option(min=8, help="side of a timm model's input")] = None,
) -> None:
    """Score frozen features: nearest neighbours and a linear probe, balanced accuracy with 95 % intervals.

    With --suite, measure by the protocols it names and record a row for each number; protocols that are recorded
    already are not done again.
    """
    if suite is not None:
        asked = SuiteRequest(checkpoint, suite, dataset, split, seed, size_px, results)
        _say(asked.run(out, _announce), suite_lines, as_json, out)
        return
    _check([local_path(checkpoint)], out)
    from trainer.evaluation.evaluate import evaluate as run

    scored = run(checkpoint, dataset=dataset, split=split, seed=seed, with_baselines=baselines, progress=_announce)
    _say(scored, evaluation_lines, as_json, out)


def compare(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(parser=local_path, help="finished runs that differ in their seed only; or recorded results"),
    ],
    dataset: Annotated[str | None, typer.Option("--set", help="labelled drawings; of results, which to take")] = None,
    split: Annotated[Split | None, typer.Option(help="dev to choose anything, test to publish")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    out: JsonFile = None,
    suite: Annotated[str, typer.Option(help="of results: which protocols, all or a list such as knn,linear")] = "all",
    plot: Annotated[
        Path | None, typer.Option(parser=local_path, help="of results: draw them into this SVG file")
    ] = None,
) -> None:
    """Compare one method's training seeds with the baselines: differences with intervals over images and seeds.

    Given folders or files of results instead, lay their rows side by side; rows that are not alike are refused.
    """
    if all(is_results(path) for path in checkpoints):
        found = side_by_side(checkpoints, suite, dataset, split, out, plot)
        _say(found, comparison_lines, as_json, out)
        return
    if plot:
        raise UserError(f"--plot draws recorded results, and {checkpoints[0]} holds none: `evaluate … --suite` records")
    _check(checkpoints, out)
    if remark := remark_on_code(checkpoints):
        print(f"warning: {remark}", file=sys.stderr)
    from trainer.evaluation.evaluate import compare as run

    scored = run(checkpoints, dataset=dataset or DEFAULT_SET, split=split or Split.test, progress=_announce)
    _say(scored, evaluation_lines, as_json, out)


def _announce(name: str) -> None:
    print(f"scoring {name}", file=sys.stderr, flush=True)


def _check(checkpoints: list[Path], out: Path | None) -> None:
    """Refuse what cannot be scored or written, before minutes are spent on it."""
    for checkpoint in checkpoints:
        export_folder(checkpoint)
    if out:
        check_file(out)


class _Found(Protocol):
    def to_json(self) -> str: ...


F = TypeVar("F", bound=_Found)


def _say(found: F, lines: Callable[[F], list[str]], as_json: bool, out: Path | None) -> None:
    print(found.to_json() if as_json else "\n".join(lines(found)))
    if out:
        with replaced(out) as part:
            part.write_text(found.to_json() + "\n", encoding="utf-8")


def evaluation_lines(found: "Evaluation") -> list[str]:
    """Return scores and differences as tables."""
    head = f"{found.set} {found.split} {found.root[:12]}: balanced accuracy in percent, 95 % interval over groups"
    return [head, *table_lines(found.results), *difference_lines(found.differences)]


def table_lines(results: "dict[str, dict[str, Score]]") -> list[str]:
    """Return one line a feature set, methods as columns."""
    methods = list(next(iter(results.values())))
    lines = [f"{'':10}" + "".join(f"{method:>22}" for method in methods) + f"{'groups':>8}"]
    for name, scores in results.items():
        cells = [f"{100 * s.mean:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in scores.values()]
        lines.append(f"{name:10}" + "".join(f"{cell:>22}" for cell in cells) + f"{scores[methods[0]].n:8}")
    return lines


def difference_lines(differences: "dict[str, dict[str, Difference]]") -> list[str]:
    """Return one line a baseline and method, in percentage points, with what the design could have seen."""
    return [
        f"encoder - {name:9}{method:>8}: {100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}], "
        f"could see {100 * d.smallest_detectable:.1f}, {'evidence' if d.is_evidence else 'no evidence'}"
        for name, found in differences.items()
        for method, d in found.items()
    ]
