"""What stops a run before it does harm: numbers that are not finite, and the signal to leave.

All ranks decide both together, since one that skips or leaves alone hangs the others in their next collective.
"""

from __future__ import annotations

import math
import signal
from types import FrameType, TracebackType

import torch
from torch import Tensor, nn

from learning.gather import all_gather, all_reduce_sum

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class NonFiniteError(FloatingPointError):
    """Loss or gradient stayed NaN or infinite for longer than the budget."""


class FiniteGuard:
    """Decides before each optimizer step whether every rank's loss and gradient norm are finite."""

    def __init__(self, max_skips_in_a_row: int = 10) -> None:
        self.max_skips_in_a_row = max_skips_in_a_row
        self.skipped = 0  # in all; goes into metrics and checkpoints
        self.skipped_in_a_row = 0

    def is_finite(self, loss: Tensor, gradient_norm: Tensor) -> bool:
        """Return whether all ranks may step; if not, the step is counted and to be left out by all of them.

        Raises: NonFiniteError on all ranks at once, after more than `max_skips_in_a_row` skipped steps in a row.
        """
        own = torch.stack([loss.detach().double(), gradient_norm.detach().to(loss.device).double()])
        by_rank = all_gather(own[None]).tolist()  # [world][loss, gradient norm]
        bad = {rank: values for rank, values in enumerate(by_rank) if not all(map(math.isfinite, values))}
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if bad else 0
        self.skipped += bool(bad)
        if self.skipped_in_a_row > self.max_skips_in_a_row:
            raise NonFiniteError(self._text(bad))
        return not bad

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped, self.skipped_in_a_row = state["skipped"], state["skipped_in_a_row"]

    def _text(self, bad: dict[int, list[float]]) -> str:
        rank, (loss, norm) = next(iter(bad.items()))
        return (
            f"{self.skipped_in_a_row} steps in a row were not finite, expected at most {self.max_skips_in_a_row}: "
            f"loss {loss}, gradient norm {norm} on rank {rank} (ranks {sorted(bad)}); "
            "lower the learning rate, lengthen the warm-up, or train in bf16 or fp32 instead of fp16"
        )


class RunningStatistics:
    """Batch norm's averages as they were before a step: its forward pass moves them, and a NaN would stay for ever."""

    def __init__(self, module: nn.Module) -> None:
        names = ("running_mean", "running_var", "num_batches_tracked")
        self._own = [buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] in names]
        self._before = [buffer.clone() for buffer in self._own]

    @torch.no_grad()
    def settle(self, *, keep: bool) -> None:
        """Keep what the step made of them, or go back to what they were."""
        here, there = (self._before, self._own) if keep else (self._own, self._before)
        if here:
            torch._foreach_copy_(here, there)


class StopSignal:
    """Turns SIGTERM and SIGUSR1 into a question to ask between steps; a `with` block puts the old handlers back."""

    def __init__(self) -> None:
        self.requested = False  # on this rank

    def __enter__(self) -> StopSignal:
        self._previous = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested_anywhere(self, device: torch.device) -> bool:
        """Return whether any rank was told to stop, the same answer on all of them."""
        return bool(all_reduce_sum(torch.tensor(int(self.requested), device=device)).item())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
