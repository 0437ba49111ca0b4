"""Names what has become of the codes of a diffusion or an autoencoder, from a line of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_USED_SHARE = 0.002  # of the loss: what another image's code must cost at least
_PRIOR_NATS = 1.0
_CONSTANT_STD = 0.1  # of 1 for codes whose mean over images is 0


def code_warnings(line: Mapping[str, Any]) -> list[str]:
    """Say that the codes collapsed, how, and what to do."""
    gap, loss = line.get("code_gap"), line.get("plain_loss")
    if gap is None or loss is None or gap >= _USED_SHARE * abs(loss):
        return []
    kl, std = line.get("kl"), line.get("code_std")
    if kl is not None and kl < _PRIOR_NATS:
        why = f"posterior collapse (kl {kl:.2g} nats: codes say nothing of their images): lower objective.weight"
    elif std is not None and std < _CONSTANT_STD:
        why = f"constant codes (code_std {std:.2g} of 1): lower objective.weight or the learning rate"
    else:
        why = "codes that the net does not read yet: go on, or raise objective.dimensions if it stays so"
    return [f"another image's code serves as well as its own (code_gap {gap:.2g} of a loss of {loss:.3g}): {why}"]
