"""How a fresh run begins otherwise than from random weights, and what it does with its activations."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from manifests.errors import UserError
from trainer.encoders import Encoder, load_encoder
from trainer.objectives.objective import Objective


def begin_with(objective: Objective, source: Path) -> None:
    """Take the encoder's weights from an export or a finished run; heads and teachers' heads stay fresh.

    Raises: UserError where the architectures differ.
    """
    found, _ = load_encoder(source)
    ours, theirs = objective.encoder.backbone.state_dict(), found.backbone.state_dict()
    wrong = [name for name, value in ours.items() if name not in theirs or theirs[name].shape != value.shape]
    if wrong or len(ours) != len(theirs):
        told = f"{wrong[0]} among {len(wrong)} others" if wrong else f"{len(theirs)} tensors there, {len(ours)} here"
        raise UserError(f"init: {source} holds a {found.architecture} that is not this encoder ({told})")
    for module in objective.modules():
        if isinstance(module, Encoder):  # the student's and a teacher's
            module.backbone.load_state_dict(theirs)


def checkpoint_activations(objective: Objective) -> None:
    """Recompute the backbone's activations in the backward pass.

    Raises: UserError where timm's model cannot.
    """
    switch = getattr(objective.encoder.backbone, "set_grad_checkpointing", None)
    if not isinstance(objective.encoder.backbone, nn.Module) or switch is None:
        raise UserError(f"gradient_checkpointing: {objective.encoder.architecture} has none; leave it off")
    switch(True)
