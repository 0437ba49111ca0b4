"""Measures what two views share: critics learn from three quarters of the groups, and are scored on the rest.

I_NCE depends on the critic, K and how long it learns: compare numbers of one setting only. Groups of one positive_id
lie on one side; the choice of groups, the cut and the draws are the same for every kind of views, so that kinds are
compared in pairs. Source: InfoMin, arXiv:2005.10243 section 4 (its authors' I_NCE, but on held-out pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learning.information import batches, fit, i_nce, info_nce, is_near_ceiling, log_mean_exp_apart, nwj, smile
from learning.pair_encoder import PairEncoder
from manifests import seeds
from manifests.dataset import DataSet
from trainer.information.pairs import ViewPair, Views
from trainer.information.pool import Pool, Setting, read_pool
from trainer.order import sample_seeds

BOUNDS = ("i_nce", "nwj", "smile")
_NOTHING_NATS = 0.02
_OVERFIT_NATS = 1.0
_RESAMPLINGS, _BASELINE_BATCHES, _TEMPERATURE = 2000, 16, 0.1


@dataclass(frozen=True)
class Measured:
    """What one kind of views shares, in nats: mean and 95 % interval of every bound over critics and batches."""

    view: str
    root: str
    nats: dict[str, tuple[float, float, float]]
    training_nats: float  # I_NCE on images that the critics learned from
    setting: Setting
    training_images: int
    held_out_images: int

    @property
    def ceiling_nats(self) -> float:
        """log K, which I_NCE cannot exceed."""
        return math.log(self.setting.batch)

    @property
    def is_near_ceiling(self) -> bool:
        return is_near_ceiling(self.nats["i_nce"][0], self.setting.batch)

    def warnings(self) -> list[str]:
        """Say what makes a number no measurement."""
        mean, found = self.nats["i_nce"][0], []
        if self.is_near_ceiling:
            found.append(
                f"{self.view}: I_NCE {mean:.2f} is near its ceiling log K = {self.ceiling_nats:.2f} nats, and says "
                "little: raise --batch, or read nwj and smile"
            )
        elif max(mean, self.training_nats) < _NOTHING_NATS:
            found.append(
                f"{self.view}: the critic found nothing, in training either: raise --epochs, or they share none"
            )
        elif self.training_nats - mean > _OVERFIT_NATS:
            found.append(
                f"{self.view}: the critic knows its training images by heart (I_NCE {self.training_nats:.2f} there, "
                f"{mean:.2f} held out): raise --groups or lower --epochs"
            )
        return found + self._no_interval()

    def _no_interval(self) -> list[str]:
        """One batch and one critic say nothing of how sure a number is."""
        if self.setting.seeds * (self.held_out_images // self.setting.batch) > 1:
            return []
        return [
            f"{self.view}: one batch of {self.setting.batch} was held out, which gives no interval: raise --groups or "
            "--seeds, or lower --batch"
        ]

    def to_dict(self) -> dict[str, Any]:
        bounds = {name: dict(zip(("mean", "low", "high"), values, strict=True)) for name, values in self.nats.items()}
        facts = {"ceiling_nats": self.ceiling_nats, "near_ceiling": self.is_near_ceiling, "warnings": self.warnings()}
        return {**asdict(self), "nats": bounds, **facts}


class Critic(nn.Module):
    """Unit codes of both views, by one network where they are alike; a score is their cosine times a learned scale."""

    def __init__(self, pair: ViewPair, width: int) -> None:
        super().__init__()
        first = PairEncoder(width, pair.channels[0])
        self.towers: Any = nn.ModuleList([first] if pair.is_alike else [first, PairEncoder(width, pair.channels[1])])
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))

    def forward(self, views: Views) -> tuple[Tensor, Tensor]:
        return self.towers[0](views[0]), self.towers[-1](views[1])

    def loss(self, views: Views) -> Tensor:
        """Return the cross-entropy of finding partners, both ways."""
        first, second = self(views)
        return info_nce(first, second, (-self.log_scale).exp())

    def scores(self, views: Views) -> Tensor:
        """Return every pair's score. Shapes: [K, K]."""
        first, second = self(views)
        scores: Tensor = (first @ second.T) * self.log_scale.exp()
        return scores


def measure(dataset: DataSet, pair: ViewPair, setting: Setting, device: torch.device) -> Measured:
    """Train critics on a data set's views, and score them on held-out groups.

    Raises: UserError for a data set with too few groups or views.
    """
    pool = read_pool(dataset, pair.stored, setting)
    tables, known = [], []
    for seed in range(setting.seeds):
        table, of_training = _one_critic(pool, pair, setting, seed, device)
        tables.append(table)
        known.append(of_training)
    table = np.stack(tables, axis=1)  # [bounds, seeds, batches]
    held_out = int(pool.is_held_out.sum())
    return Measured(
        view=pair.name,
        root=dataset.root,
        nats={name: interval(values) for name, values in zip(BOUNDS, table, strict=True)},
        training_nats=float(np.mean(known)),
        setting=setting,
        training_images=len(pool.is_held_out) - held_out,
        held_out_images=held_out,
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval over critics and batches. Shapes: [S, B]."""
    critics, count = values.shape
    rows = seeds.integers(0, "bootstrap critics", critics, (_RESAMPLINGS, critics, 1))
    columns = seeds.integers(0, "bootstrap batches", count, (_RESAMPLINGS, 1, count))
    low, high = np.quantile(values[rows, columns].mean(axis=(1, 2)), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def _one_critic(
    pool: Pool, pair: ViewPair, setting: Setting, seed: int, device: torch.device
) -> tuple[NDArray[np.float64], float]:
    """Return every bound on every held-out batch, [bounds, batches], and I_NCE on training images."""
    torch.manual_seed(seeds.derive(seed, "information/critic") >> 1)
    critic = Critic(pair, setting.width).to(device)
    training, held_out = (torch.from_numpy(np.flatnonzero(side)) for side in (~pool.is_held_out, pool.is_held_out))
    draw = _drawing(pool, pair, setting, seed, device)
    orders = [
        training[torch.from_numpy(seeds.permutation(seed, f"information/epoch/{epoch}", len(training)))]
        for epoch in range(setting.epochs)
    ]
    rate, batch = setting.learning_rate, setting.batch
    fit(
        critic,
        lambda rows, seen: critic.loss(draw(rows, f"train/{seen}")),
        orders,
        batch_images=batch,
        learning_rate=rate,
    )
    with torch.no_grad():
        critic.eval()
        known = [critic.scores(draw(rows, "known")) for rows in batches(training, batch)][:_BASELINE_BATCHES]
        baseline = float(torch.stack([log_mean_exp_apart(one) for one in known]).mean())
        scores = [critic.scores(draw(rows, "test")).double() for rows in batches(held_out, batch)]
        table = [[float(i_nce(s)), float(nwj(s, baseline)), float(smile(s, baseline))] for s in scores]
        return np.array(table).T, float(torch.stack([i_nce(one) for one in known]).mean())


def _drawing(
    pool: Pool, pair: ViewPair, setting: Setting, seed: int, device: torch.device
) -> Callable[[Tensor, str], Views]:
    """Return the views of some rows: made once where nothing of them is drawn, else anew for every purpose."""

    def draw(rows: Tensor, purpose: str) -> Views:
        own = sample_seeds(seed, rows.numpy(), 2, f"information/{purpose}")
        return pair.make(pool.images[rows].to(device), torch.from_numpy(own).to(device), setting.size_px)

    if pair.is_drawn:
        return draw
    first, second = draw(torch.arange(len(pool.images)), "once")
    return lambda rows, purpose: (first[rows], second[rows])
