"""`python -m factory train-navigator`: a navigator that hides views from encoders, if held-out ones agree that it does.

At each checkpoint a fresh encoder measures I_NCE of the navigator so far; when `patience` candidates in a row are no
better than the best, training ends. The best is compared with the Gaussian on latents that chose nothing.
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from factory.numerics import pick_device
from factory.walks.config import NavigatorConfig
from factory.walks.file import Learned, LearnedFacts, parse_learned, read_bytes, write_learned
from factory.walks.folder import Say, pin, run_folder, teller
from factory.walks.frozen import Frozen
from factory.walks.information import compare, report
from factory.walks.navigation import MinMax, Way, gaussian_way, likeness
from factory.walks.steering import layer_arrays
from learning import checkpoint, loop
from manifests.errors import UserError
from manifests.target import only_writer, replaced


class EnoughError(Exception):
    """The stopping rule has spoken."""


class NavigatorRun:
    """A generator, the two players on it, and the file that the better navigator goes to."""

    def __init__(self, model: str, out: Path, config: NavigatorConfig, say: Say) -> None:
        self.out, self.config, self.say, self.folder = out, config, say, run_folder(out)
        torch.set_num_threads(config.threads)
        self.frozen = Frozen.open(model, config.latents, torch.device(pick_device(config.device, learns=True)))
        self.learner = MinMax(self.frozen, config)
        self.facts: dict[str, Any] = {}

    def go(self) -> dict[str, Any]:
        """Learn until the stopping rule or the end; compare with the Gaussian; write the navigator if it wins.

        Raises: UserError where it does not; KeyboardInterrupt when stopped early, with a checkpoint.
        """
        self.facts = pin(self.out, {"generator_sha256": self.frozen.sha256, **self.config.identity()})
        try:
            self._catch_up()
            tell = teller(self.config.images, self.say)
            with only_writer(self.folder):
                loop.train(self.learner, self.config.schedule, self.folder, tell, self._consider)
        except EnoughError:
            self.say(f"no better for {self.config.patience} candidates: training ends")
        best = min(self._considered(), key=lambda line: float(line["navigator_nats"]))
        chosen = parse_learned(read_bytes(self._candidate(best["images_seen"]), "navigator"), "navigator", "candidate")
        found = {"images_seen": best["images_seen"], **compare_with_gaussian(self.frozen, chosen, self.config)}
        if not found["lowers"]:
            raise UserError(f"{self.out}: not written: no lower than the Gaussian's: {told(found)}")
        write_learned(self.out, self._facts(found), chosen.arrays())
        return found

    def _catch_up(self) -> None:
        """Consider the newest checkpoint, if the process ended before it was."""
        newest = checkpoint.load_newest(self.folder / "checkpoints")
        if newest is not None:
            self.learner.load(newest[1])
            self._consider(newest[0])

    def _consider(self, images_seen: int) -> None:
        """Measure and keep the navigator as it is.

        Raises: EnoughError by the stopping rule.
        """
        if images_seen not in [line["images_seen"] for line in self._considered()]:
            write_learned(self._candidate(images_seen), self._facts({}), layer_arrays(self.learner.navigator.network))
            nats = float(compare(self.frozen, {"navigator": self.learner.navigator}, self.config, "choice", 1).mean())
            line = {"images_seen": images_seen, "navigator_nats": nats, "gaussian_nats": self._gaussian_nats}
            lines = [json.dumps(one) + "\n" for one in (*self._considered(), line)]
            with replaced(self.folder / "candidates.jsonl") as part:
                part.write_text("".join(lines), encoding="utf-8")
            self.say(f"{images_seen:,} images: held-out I_NCE {nats:.3f} nats, Gaussian {self._gaussian_nats:.3f}")
        if is_enough([line["navigator_nats"] for line in self._considered()], self.config.patience):
            raise EnoughError

    @cached_property
    def _gaussian_nats(self) -> float:
        return float(compare(self.frozen, {"": gaussian_way(self.config.sigma)}, self.config, "choice", 1).mean())

    def _considered(self) -> list[dict[str, Any]]:
        path = self.folder / "candidates.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def _candidate(self, images_seen: int) -> Path:
        return self.folder / "candidates" / f"{images_seen:09d}.safetensors"

    def _facts(self, found: dict[str, Any]) -> LearnedFacts:
        return LearnedFacts(
            kind="navigator",
            generator_sha256=self.frozen.sha256,
            sigma=self.config.sigma,
            made_by={
                "command": "python -m factory train-navigator",
                "generator": self.frozen.known.name,
                "licence": self.frozen.known.licence,
                "code": self.facts["code"],
                "config": self.config.model_dump(mode="json"),
                "measured": found,
                "candidates": self._considered(),
            },
        )


def compare_with_gaussian(frozen: Frozen, learned: Learned, config: NavigatorConfig) -> dict[str, Any]:
    """Measure I_NCE of a file's views and of Gaussian ones, on latents that neither learning nor choosing has seen."""
    ways = {"navigator": way_of(learned), "gaussian": gaussian_way(learned.facts.sigma or 0.0)}
    found = report(compare(frozen, ways, config, "held-out", config.estimator.seeds), config.estimator)
    return {**found, "likeness": likeness(ways["navigator"], frozen.latents(config.seed, "held-out", 0, 64), 0)}


def way_of(learned: Learned) -> Way:
    """Return the way that a data set's views go by a file."""

    def way(z: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        rows = zip(z.double().cpu().numpy(), noise.double().cpu().numpy(), strict=True)
        units = np.stack([learned.navigate(*row) for row in rows])
        length = (learned.facts.sigma or 0.0) * math.sqrt(units.shape[1])
        return torch.from_numpy((length * units).astype(np.float32)).to(z.device)

    return way


def is_enough(nats: list[float], patience: int) -> bool:
    """Say whether the last `patience` candidates were all no better than the best before them."""
    return bool(nats) and len(nats) - 1 - int(np.argmin(nats)) >= patience


def told(found: dict[str, Any]) -> str:
    """Say in a line what was measured."""
    interval = f"[{found['difference_low_nats']:.3f}, {found['difference_high_nats']:.3f}]"
    verdict = "lower" if found["lowers"] else "NOT lower"
    warning = "; near the ceiling log K, where I_NCE says little" if found["near_ceiling"] else ""
    return (
        f"I_NCE {found['navigator_nats']:.3f} nats, Gaussian {found['gaussian_nats']:.3f}: difference "
        f"{found['difference_nats']:.3f} {interval} over {found['seeds']} seeds, ceiling {found['ceiling_nats']:.2f}: "
        f"{verdict}{warning}; steps of two views of an anchor have cosine {found['likeness']:.2f}"
    )
