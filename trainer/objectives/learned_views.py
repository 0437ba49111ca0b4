"""InfoMin's learned views: a flow hides two parts of an image from each other, two encoders find them again.

    min over g, c1, c2, max over f1, f2:  w · I_NCE(f1(g(x)₁); f2(g(x)₂₃)) + v · [CE(c1(g(x)₁), y) + CE(c2(g(x)₂₃), y)]
v = 0 is the unsupervised arm, w = 0 the supervised one. One backward pass serves all players: the encoders' loss goes
on to the flow with its sign turned, but for a head start: what nobody can find yet has no gradient that says how to
hide it. Tian et al., NeurIPS 2020, eq. 3-4. The unsupervised arm is known to shrink I_NCE too far and to differ from
seed to seed: below `least_nats` g has to help the encoders, and the metrics say how often.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learning.augment.draws import uniform
from learning.gather import all_gather, all_reduce_sum, share_of_global_mean
from learning.losses import multi_positive_nce
from learning.optim import ParameterGroup, parameter_groups
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import Encoder, SplitBackbone
from trainer.objective_config import LearnedViewsConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs, stacked
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.teacher import unit
from trainer.objectives.two_towers import MAX_LOGIT_SCALE
from trainer.splits import FlowSplit

_LABELLED = 201  # stream of the draws that say whose label counts
_INERTIA = 0.9  # of the running I_NCE, a step


class LearnedViews(Objective):
    """Features [1, n, D] each: both encoders', one behind the other; the classifiers' backbones' likewise."""

    running_nats: Tensor
    has_begun: Tensor

    def __init__(self, config: RunConfig, settings: LearnedViewsConfig, encoder: Encoder, classes: int) -> None:
        super().__init__()
        if not isinstance(encoder.cut, FlowSplit):
            raise UserError("learned_views learns the encoder's split; set encoder.split=flow, as the preset does")
        if settings.label_weight and classes < 2:
            raise UserError(
                f"learned_views learns from labels, and the data have {classes} of them; "
                "set objective.label_weight=0 for the unsupervised arm"
            )
        encoder.cut.flow.requires_grad_(True)
        self.crops, self.encoder, self.settings = (crop(config),), encoder, settings
        width = encoder.dimensions // 2
        self.heads: Any = nn.ModuleList([projection(settings, width) for _ in range(2)])
        self.judges: Judges | None = Judges(encoder, encoder.cut.channels, classes) if settings.label_weight else None
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(settings.initial_temperature)))
        self.register_buffer("running_nats", torch.zeros(()))
        self.begin_images = round(settings.head_start * config.images)
        self.register_buffer("has_begun", torch.tensor(self.begin_images == 0))
        self._nats: Tensor | None = None

    @property
    def cut(self) -> FlowSplit:
        """The encoder's split, whose flow learns."""
        assert isinstance(self.encoder.cut, FlowSplit)
        return self.encoder.cut

    @property
    def is_low(self) -> Tensor:
        """Say whether the views share less than they should."""
        return self.running_nats < self.settings.least_nats

    def pressure(self) -> Tensor:
        """Return how hard the flow hides: not at all in the head start, and negative where it hid too much."""
        hiding = self.has_begun.to(self.running_nats.dtype)
        if self.settings.guard:
            hiding = torch.where(self.is_low, -hiding, hiding)
        return self.settings.information_weight * hiding

    def features(self, inputs: Inputs) -> Features:
        views = self.cut(inputs.crops[0].flatten(0, 1))
        codes = self.encoder.backbone(_Turned.apply(views, self.pressure().to(views.dtype)))
        judged = () if self.judges is None else (stacked(self.judges(views), 1),)
        return stacked(codes, 1), *judged

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        loss, report = self._found(features[0][0], inputs)
        if self.judges is not None:
            of_labels, accuracy = self.judges.loss(features[1][0], self._labels(inputs))
            loss, report = loss + self.settings.label_weight * of_labels, {**report, "label_accuracy": accuracy}
        return loss, {**report, **self._views_report(inputs)}

    def param_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the encoders and classifiers, and the flow at a rate of its own and without decay."""
        flow: ParameterGroup = {
            "params": list(self.cut.flow.parameters()),
            "weight_decay": 0.0,
            "lr_scale": self.settings.flow_rate,
        }
        others = nn.ModuleList([self.encoder.backbone, self.heads, *([self.judges] if self.judges else [])])
        scale: ParameterGroup = {"params": [self.logit_scale], "weight_decay": 0.0}
        return [*parameter_groups(others, weight_decay=weight_decay), scale, flow]

    @torch.no_grad()
    def after_step(self, images_seen: int) -> None:
        assert self._nats is not None
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        nats = self._nats.to(self.running_nats.dtype).clamp(min=0)  # one bad batch must not weigh as much as ten
        self.running_nats.lerp_(nats, 1 - _INERTIA)
        self.has_begun |= images_seen >= self.begin_images

    def _found(self, codes: Tensor, inputs: Inputs) -> tuple[Tensor, Report]:
        """The encoders' loss of finding partners, both ways, as CMC's."""
        one, two = (unit(head(part)) for head, part in zip(self.heads, codes.chunk(2, dim=1), strict=True))
        ids, temperature = inputs.images, (-self.logit_scale).exp()
        key_ids, keys = all_gather(ids), all_gather(two)
        there, count = multi_positive_nce(one, keys, ids, key_ids, temperature=temperature)
        back, _ = multi_positive_nce(two, all_gather(one), ids, key_ids, temperature=temperature)
        total = (there + back) / 2
        self.embeddings = one.detach()[:DIAGNOSED_ROWS]
        report = contrastive_report(total, one.detach(), keys.detach(), ids, key_ids)
        self._nats = math.log(len(key_ids)) - report["loss"]
        return share_of_global_mean(total, count), {**report, **spread(one.detach()), "i_nce_nats": self._nats}

    def _views_report(self, inputs: Inputs) -> Report:
        """What the flow does: how often it hid too much, and must give way for it; and how exactly it can be undone."""
        over_shrunk = self.has_begun & self.is_low
        error = self.cut.inversion_error(inputs.crops[0][0, :8])
        gives_way = over_shrunk & self.settings.guard
        return {"over_shrunk": over_shrunk.float(), "gives_way": gives_way.float(), "inversion_error": error}

    def _labels(self, inputs: Inputs) -> Tensor:
        """Labels of the share of things that have one for the flow, the same ones in every run; else -1."""
        counts = uniform(inputs.ids, _LABELLED, 1)[:, 0] < self.settings.label_fraction
        return inputs.labels.where(counts, -1)


class Judges(nn.Module):
    """A classifier for each part of the image, with backbones of their own."""

    def __init__(self, encoder: Encoder, channels: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.backbone = SplitBackbone(encoder.architecture, encoder.arguments, channels)
        width = encoder.dimensions // 2
        self.classifiers: Any = nn.ModuleList([nn.Linear(width, classes) for _ in range(2)])

    def forward(self, views: Tensor) -> Tensor:
        features: Tensor = self.backbone(views)
        return features

    def loss(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of both cross-entropies' means over labelled images, and the mean accuracy."""
        is_labelled, total, right = labels >= 0, features.new_zeros(()), features.new_zeros(())
        for classifier, part in zip(self.classifiers, features.chunk(2, dim=1), strict=True):
            logits = classifier(part)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            total = total + cross_entropy(logits, labels.where(is_labelled, -100), ignore_index=-100, reduction="sum")
            right = right + (logits.argmax(dim=1) == labels).sum() / 2
        sums = all_reduce_sum(torch.stack([right.detach().double(), is_labelled.sum().double()]))
        return share_of_global_mean(total, is_labelled.sum()), sums[0] / sums[1].clamp(min=1)


class _Turned(torch.autograd.Function):
    """Nothing on the way forth; on the way back the sign turned, times a strength."""

    @staticmethod
    def forward(ctx: Any, views: Tensor, strength: Tensor) -> Tensor:
        ctx.save_for_backward(strength)
        return views.view_as(views)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength * gradient, None
