"""What arms and claims come to: scores, paired contrasts, and the tables of RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.arms import Predictions, contrast, scores
from manifests.checkout import code_commit
from manifests.target import replaced
from trainer.evaluation.sets import Examples

Pairs = Mapping[str, tuple[str, str]]  # claim -> the arm said to be above, the arm below


def measured(found: dict[str, Predictions], pairs: Pairs, examples: Examples, **facts: Any) -> dict[str, Any]:
    """Score all arms and compare the pairs, beside what the caller says of set, split, seeds and lengths."""
    scored = scores(found, examples)
    told = {name: contrast(found, above, below, examples) for name, (above, below) in pairs.items()}
    return {
        "commit": code_commit(),
        "root": examples.root,
        **facts,
        "scores": {name: {method: asdict(one) for method, one in by.items()} for name, by in scored.items()},
        "claims": {name: difference.to_dict() for name, difference in told.items()},
    }


def table(result: dict[str, Any]) -> list[str]:
    """Write the results as the Markdown of RESULTS.md; pure."""
    lines = ["| arm | nearest neighbours | linear probe |", "|---|---|---|"]
    for name, by in result["scores"].items():
        lines.append(f"| {name} | {_score(by['knn'])} | {_score(by['linear'])} |")
    return [*lines, "", *claim_lines("claim, linear probe", result["claims"])]


def claim_lines(title: str, claims: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write what became of claims as Markdown; pure."""
    lines = [f"| {title} | points | could see | verdict |", "|---|---|---|---|"]
    for name, d in claims.items():
        points = f"{100 * d['mean']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        lines.append(f"| {name} | {points} | {100 * d['smallest_detectable']:.1f} | {_verdict(d)} |")
    return lines


def _verdict(difference: Mapping[str, Any]) -> str:
    if not difference["is_evidence"]:
        return "no evidence"
    return "evidence" if difference["mean"] > 0 else "evidence against"


def _score(one: dict[str, Any]) -> str:
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def keep(out: Path, result: dict[str, Any], **files: str) -> None:
    """Write results.json and the experiment's other files, as name__suffix."""
    texts = {"results.json": json.dumps(result, indent=1) + "\n"}
    texts |= {name.replace("__", "."): text for name, text in files.items()}
    for name, text in texts.items():
        with replaced(out / name) as part:
            part.write_text(text, encoding="utf-8")
