"""`python -m factory train-walks`: from a frozen generator to a file of the walks that do what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from factory.builtin import loop
from factory.numerics import pick_device
from factory.walks.config import WalksConfig
from factory.walks.file import LearnedFacts, parse_learned, to_bytes, write_learned
from factory.walks.folder import Say, pin, run_folder, teller
from factory.walks.frozen import Frozen
from factory.walks.measure import LEAST_R2, LEAST_SLOPE, Measured, measure_walks, shipped
from factory.walks.steering import Steering
from manifests.errors import UserError


class WalksRun:
    """A generator, the walks that are learned on it, and the file they go to."""

    def __init__(self, model: str, out: Path, config: WalksConfig, say: Say) -> None:
        self.out, self.config, self.say, self.folder = out, config, say, run_folder(out)
        torch.set_num_threads(config.threads)
        self.frozen = Frozen.open(model, config.latents, torch.device(pick_device(config.device, learns=True)))
        self.steering = Steering(self.frozen, config)

    def go(self) -> list[Measured]:
        """Learn, or go on; then measure every walk, and write those that pass.

        Raises: UserError where none passes; KeyboardInterrupt when stopped early, with a checkpoint.
        """
        facts = pin(self.out, {"generator_sha256": self.frozen.sha256, **self.config.identity()})
        tell = teller(self.config.images, self.say)
        loop.train(self.steering, self.config.schedule, self.folder, tell)
        measured = self._measure()
        for one in measured:
            self.say(told(one))
        kept = shipped(measured)
        if not kept:
            raise UserError(
                f"{self.out}: not written: no walk reaches R² {LEAST_R2} and slope {LEAST_SLOPE} on held-out latents; "
                "learn longer (--set images=…), in another --space, or on narrower laws (--set laws.zoom=[-0.4,0.4])"
            )
        write_learned(self.out, self._facts(kept, facts, measured), self.steering.walks.arrays(kept))
        return measured

    def _measure(self) -> list[Measured]:
        """Measure what a file of all walks would do."""
        everything = tuple(self.steering.laws)
        data = to_bytes(self._facts(everything, {}, []), self.steering.walks.arrays(everything))
        learned = parse_learned(data, "walks", str(self.out))
        return measure_walks(self.frozen, learned, seed=self.config.seed, images=self.config.measure_images)

    def _facts(self, kept: tuple[str, ...], facts: dict[str, Any], measured: list[Measured]) -> LearnedFacts:
        steering = self.steering
        return LearnedFacts(
            kind="walks",
            space=self.config.space,
            generator_sha256=self.frozen.sha256,
            laws={name: law for name, law in steering.laws.items() if name in kept},
            inputs=tuple(name for name in steering.walks.inputs if name in kept),
            made_by={
                "command": "python -m factory train-walks",
                "generator": self.frozen.known.name,
                "licence": self.frozen.known.licence,
                "code": facts.get("code"),
                "config": self.config.model_dump(mode="json"),
                "measured": [one.to_json() for one in measured],
                "left_out": [one.name for one in measured if one.name not in kept],
            },
        )


def told(one: Measured) -> str:
    """Say in a line what was measured of a walk."""
    verdict = "passes" if one.passes else f"FAILS: expected R² {LEAST_R2} and slope {LEAST_SLOPE}"
    interval = f"[{one.r2_low:.2f}, {one.r2_high:.2f}]"
    numbers = f"R² {one.r2:.3f} {interval}  slope {one.slope:.2f}  explains {one.explained:.0%} of the change"
    return f"{one.name:12} {numbers}  n {one.images}  {verdict}"
