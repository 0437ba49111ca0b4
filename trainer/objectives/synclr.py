"""SynCLR: StableRep against the keys of a slow teacher, from one large and several small crops, with iBOT's patch loss.

An image's own key is left out, so that only other images of its caption are positives.
Source: arXiv:2312.17742 section 3.3 and appendix A.3.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from learning.augment import preset
from learning.gather import all_gather, all_reduce_sum, share_of_global_mean, world_size
from learning.heads import ProjectionHead
from learning.losses import multi_positive_nce
from trainer.config import RunConfig
from trainer.distributed import own_columns
from trainer.encoders import Encoder
from trainer.objective_config import SynClrConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.ibot import PatchMask, PrototypeHead, draw_mask, patch_loss, sinkhorn
from trainer.objectives.inputs import Crop, Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.teacher import Teacher, rising_momentum, unit


class SynClr(Objective):
    """Features: the large crop's and the small crops' of the student, and the large one's of the teacher; with iBOT
    also the masks and both networks' patch tokens."""

    views_needed = 2

    def __init__(self, config: RunConfig, settings: SynClrConfig, encoder: Encoder) -> None:
        super().__init__()
        recipe, size_px = preset(config.augmentation), config.encoder.size_px
        large = Crop(replace(recipe, crop_area=(settings.local_area, 1.0)), size_px)
        small = Crop(replace(recipe, crop_area=(0.05, settings.local_area)), settings.local_px, settings.local_crops)
        self.crops = (large, small) if settings.local_crops else (large,)
        self.encoder, self.head = encoder, projection(settings, encoder.dimensions)
        wide = settings.dimensions
        self.predictor = ProjectionHead(wide, settings.hidden, wide, layers=2, norm=settings.norm)
        self.settings, self.total_images = settings, config.images
        self.mask: PatchMask | None = None
        students: dict[str, torch.nn.Module] = {"encoder": encoder, "head": self.head}
        if settings.ibot_weight:
            self.prototypes = PrototypeHead(encoder.dimensions, settings.hidden, wide, settings.prototypes)
            students["prototypes"] = self.prototypes
        self.teacher = Teacher(**students)
        if settings.ibot_weight:  # hooks are set after the copy: the teacher sees all patches
            self.mask = PatchMask(encoder)
            self._patches = PatchMask(self._teacher_encoder)
            self._patches.requires_grad_(False)

    @property
    def _teacher_encoder(self) -> Encoder:
        encoder = self.teacher["encoder"]
        assert isinstance(encoder, Encoder)
        return encoder

    def features(self, inputs: Inputs) -> Features:
        large = inputs.crops[0][0]  # [n, 3, S, S]
        found = [self.encoded(crops) for crops in inputs.crops[1:]]
        if self.mask is None:
            with torch.no_grad():
                slow = self._teacher_encoder(large)
            return (self.encoded(inputs.crops[0]), *found, slow[None])
        with torch.no_grad():
            slow, seen = self._patches.tokens(self._teacher_encoder, large, None)
        share = {"share_of_images": self.settings.mask_images, "share_of_patches": self.settings.mask_patches}
        mask = draw_mask(len(large), seen.shape[1], **share).to(large.device)
        student, guessed = self.mask.tokens(self.encoder, large, mask)
        return (student[None], *found, slow[None], mask[None], guessed[None], seen[None])

    @torch.no_grad()
    def _keys(self, slow: Tensor) -> Tensor:
        return unit(self.teacher["head"](slow[0]))  # [n, D]

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        kinds = len(self.crops)
        crops = torch.cat(features[:kinds])  # [1 + locals, n, D]
        keys, key_ids = all_gather(self._keys(features[kinds])), all_gather(inputs.ids)
        queries = unit(self.predictor(self.head(crops.flatten(0, 1))))
        copies, itself = len(crops), own_columns(len(inputs.ids), keys.device)
        total, anchors = multi_positive_nce(
            queries,
            keys,
            inputs.ids.repeat(copies),
            key_ids,
            exclude_index=itself.repeat(copies),
            temperature=self.settings.temperature,
        )
        loss = share_of_global_mean(total, anchors)
        large = queries.detach()[: len(inputs.ids)]
        self.embeddings = large[:DIAGNOSED_ROWS]
        found = contrastive_report(total / copies, large, keys, inputs.ids, key_ids, exclude_index=itself)
        report = {**found, **spread(large)}
        if self.mask is None:
            return loss, report
        patches = self._patch_loss(*features[kinds + 1 :])
        told = all_reduce_sum(patches) / world_size()
        return loss + self.settings.ibot_weight * patches, {**report, "patch_loss": told}

    def _patch_loss(self, mask: Tensor, guessed: Tensor, seen: Tensor) -> Tensor:
        mask = mask[0]
        with torch.no_grad():
            scores = self.teacher["prototypes"](seen[0][mask])
            assigned = sinkhorn(scores, self.settings.teacher_temperature)
        return patch_loss(self.prototypes(guessed[0][mask]), assigned, mask, self.settings.student_temperature)

    def after_step(self, images_seen: int) -> None:
        momentum = rising_momentum(images_seen, self.total_images, self.settings.momentum)
        students: dict[str, torch.nn.Module] = {"encoder": self.encoder, "head": self.head}
        if self.mask is not None:
            students["prototypes"] = self.prototypes
        self.teacher.follow(momentum, **students)
