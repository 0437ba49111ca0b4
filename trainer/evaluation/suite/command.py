"""What `evaluate --suite` and `compare RESULTS` do behind the command line; loads heavy libraries only when run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.target import check_file, check_folder, replaced
from trainer.evaluation.suite.names import check_subject, chosen

if TYPE_CHECKING:
    from trainer.evaluation.comparison import Comparison
    from trainer.evaluation.suite.run import Suite


@dataclass(frozen=True)
class SuiteRequest:
    """What was typed behind `evaluate … --suite`."""

    subject: str
    suite: str
    dataset: str
    split: str
    seed: int
    size_px: int | None
    results: Path

    def run(self, out: Path | None, progress: Callable[[str], None]) -> Suite:
        """Measure and record; what cannot be done is said before minutes are spent on it."""
        protocols = chosen(self.suite)
        check_subject(self.subject)
        check_folder(self.results)
        if out:
            check_file(out)
        from trainer.evaluation.suite.run import run_suite

        return run_suite(
            self.subject,
            protocols,
            dataset=self.dataset,
            split=self.split,
            results=self.results,
            seed=self.seed,
            size_px=self.size_px,
            skips_inapplicable=self.suite == "all",
            progress=progress,
        )


def suite_lines(found: Suite) -> list[str]:
    """Return a line for each number, and one for each protocol that does not apply."""
    lines = [_line(row) for row in found.rows]
    return [*lines, *(f"{name:30} left out: {reason}" for name, reason in found.left_out.items())]


def _line(row: dict[str, Any]) -> str:
    from trainer.evaluation.comparison import cell, is_fraction

    labels = f", {row['learned_from']} labels" if row["learned_from"] else ""
    unit = " %" if is_fraction(row["metric"]) else ""
    return f"{row['metric']:30} {cell(row)}{unit}  ({row['images']} images{labels})"


def is_results(source: Path) -> bool:
    """Say whether a path is a file of results, or a folder that holds some."""
    return source.suffix == ".parquet" if source.is_file() else any(source.glob("*.parquet"))


def side_by_side(
    sources: Sequence[Path], suite: str, dataset: str | None, split: str | None, out: Path | None, plot: Path | None
) -> Comparison:
    """Read results, refuse unlike ones, and draw them where a plot is wanted."""
    for target in (out, plot):
        if target:
            check_file(target)
    from trainer.evaluation.comparison import compared, drawn, select
    from trainer.evaluation.results import read

    found = compared(select(read(sources), protocols=chosen(suite), dataset=dataset, split=split))
    if plot:
        with replaced(plot) as part:
            part.write_text(drawn(found), encoding="utf-8")
    return found


def comparison_lines(found: Comparison) -> list[str]:
    """Return the table."""
    from trainer.evaluation.comparison import table_lines

    return table_lines(found)
