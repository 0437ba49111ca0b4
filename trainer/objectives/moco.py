"""MoCo v2: a query's positive is its key from a slow encoder; its negatives are keys of earlier batches.

With positives "group" the key is of the group's next view, and keys of the same thing in the queue are positives as
well, not negatives. Source: arXiv:1911.05722 eq. 1, algorithm 1; arXiv:2003.04297 (head, augmentation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.gather import all_gather, share_of_global_mean
from learning.losses import multi_positive_nce
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import MocoConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs, next_view
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.queue import KeyQueue
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.shuffle import through_shuffled
from trainer.objectives.teacher import Teacher, unit


class Moco(Objective):
    """Features: the backbone's of queries, and the slow backbone's of keys, which have no gradient."""

    def __init__(self, config: RunConfig, settings: MocoConfig, encoder: Encoder) -> None:
        super().__init__()
        self.crops = (crop(config, count=2),)
        self.encoder, self.head = encoder, projection(settings, encoder.dimensions)
        self.teacher = Teacher(encoder=encoder, head=self.head)
        self.queue = KeyQueue(settings.queue, settings.dimensions)
        self.settings = settings
        self._pending: tuple[Tensor, Tensor] | None = None

    def features(self, inputs: Inputs) -> Features:
        return self.encoded(inputs.crops[0][:1]), through_shuffled(self.teacher["encoder"], inputs.crops[0][1])[None]

    @torch.no_grad()
    def keys(self, features: Features) -> Tensor:
        """Run the slow head over the whole batch. Shapes: unit rows [n, D]."""
        return unit(self.teacher["head"](features[1][0]))

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        keys = self.keys(features)
        queries = unit(self.head(features[0][0]))
        total, anchors = self.nce(queries, keys, inputs)
        self._pending = all_gather(keys), all_gather(self.ids(inputs))
        return share_of_global_mean(total, anchors), self.report(total, queries, keys, inputs)

    def nce(self, queries: Tensor, keys: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Sum the loss of queries against their own keys and the queue. Shapes: both [n, D]."""
        own, ids = self.own(keys, inputs), self.ids(inputs)
        queue_keys, queue_ids = self.queue.keys.to(queries.dtype), self.queue.ids
        temperature = self.settings.temperature
        return multi_positive_nce(queries, queue_keys, ids, queue_ids, own_keys=own, temperature=temperature)

    def own(self, keys: Tensor, inputs: Inputs) -> Tensor:
        """Return the key that every query seeks. Shapes: [n, D] -> [n, D]."""
        return next_view(keys, inputs.views) if self.settings.positives == "group" else keys

    def ids(self, inputs: Inputs) -> Tensor:
        return inputs.ids if self.settings.positives == "group" else inputs.images

    def report(self, total: Tensor, queries: Tensor, keys: Tensor, inputs: Inputs) -> Report:
        rows, ids = queries.detach(), self.ids(inputs)
        self.embeddings = rows[:DIAGNOSED_ROWS]
        queue = self.queue.keys.to(rows.dtype)
        found = contrastive_report(total, rows, queue, ids, self.queue.ids, own_keys=self.own(keys, inputs))
        return {**found, **spread(rows)}

    def after_step(self, images_seen: int) -> None:
        self.teacher.follow(self.settings.momentum, encoder=self.encoder, head=self.head)
        if self._pending is not None:
            self.queue.push(*self._pending)
            self._pending = None
