"""The chunked contrastive loss beside its dense form, with gradients: peak memory, and time."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.pairs import Row, peak_bytes, speed_ratio

if TYPE_CHECKING:
    from torch import Tensor

QUERIES, KEYS, WIDTH, VIEWS = 4096, 32_768, 256, 4
TEMPERATURE = 0.1
MEMORY_RUNS, TIMED_PAIRS = 3, 5  # the dense form takes many seconds


def measure(out: Path) -> list[Row]:
    """Compare memory in processes of their own, time in this one."""
    chunked, dense = _steps()
    name = "loss: time of the dense form / ours, N = 32,768, n = 4,096, D = 256"
    return [_memory_row(), speed_ratio(name, chunked, dense, goal=1.0, pairs=TIMED_PAIRS)]


def _memory_row() -> Row:
    ratios = sorted(_peak_bytes("dense") / _peak_bytes("chunked") for _ in range(MEMORY_RUNS))
    name = "loss: peak memory of the dense form / ours, N = 32,768, n = 4,096, D = 256"
    return Row(name, median(ratios), ratios[0], ratios[-1], "memory ratio", 8.0, MEMORY_RUNS)


def _peak_bytes(form: str) -> int:
    """Run one step in a fresh process; the peak is counted from what it held before."""
    command = [sys.executable, "-m", "benchmarks.loss", form]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _steps() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the chunked and the dense step: loss and gradients of n rows against N of which they are a part."""
    import torch

    from learning.losses import multi_positive_nce

    torch.manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(KEYS, WIDTH)).requires_grad_()
    queries = keys.detach()[:QUERIES].clone().requires_grad_()
    key_ids = torch.arange(KEYS) // VIEWS
    query_ids, own = key_ids[:QUERIES], torch.arange(QUERIES)

    def chunked() -> object:
        total, count = multi_positive_nce(queries, keys, query_ids, key_ids, exclude_index=own, temperature=TEMPERATURE)
        return torch.autograd.grad(total / count, (queries, keys))

    def dense() -> object:
        loss = dense_loss(queries, keys, query_ids, key_ids, own)
        return torch.autograd.grad(loss, (queries, keys))

    return chunked, dense


def dense_loss(queries: Tensor, keys: Tensor, query_ids: Tensor, key_ids: Tensor, own: Tensor) -> Tensor:
    """Compute the same loss as one writes it by hand, with all n x N logits at once."""
    logits = queries @ keys.T / TEMPERATURE
    logits = logits.scatter(1, own[:, None], -float("inf"))
    is_positive = (query_ids[:, None] == key_ids[None, :]).scatter(1, own[:, None], False)
    positive = logits.where(is_positive, 0.0).sum(dim=1) / is_positive.sum(dim=1)
    return (logits.logsumexp(dim=1) - positive).mean()


def _report_peak(form: str) -> None:
    chunked, dense = _steps()
    held_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    (chunked if form == "chunked" else dense)()
    print(peak_bytes() - held_bytes)


if __name__ == "__main__":
    _report_peak(sys.argv[1])
