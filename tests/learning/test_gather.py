"""The gather's gradient is the single process's, through a real DDP step on real gloo processes."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from learning.gather import all_gather, all_reduce_sum, rank, share_of_global_mean, world_size
from learning.losses import multi_positive_nce
from tests.distributed.harness import run_processes

IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
# With two ranks of 6: id 5 is on both; rank 0 has 6 anchors with a positive, rank 1 has 3.
UNEQUAL_IDS = torch.tensor([5, 5, 1, 1, 2, 2, 5, 3, 3, 7, 8, 9])
ACROSS_IDS = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])


def encoder() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(32, 16), nn.LayerNorm(16), nn.Linear(16, 6)).double()


def loss_of_rows(features: Tensor, ids: Tensor, decoupled: bool) -> Tensor:
    keys = all_gather(normalize(features))
    n = len(features)
    own = torch.arange(n) + rank() * n
    total, count = multi_positive_nce(
        normalize(features), keys, ids, all_gather(ids), exclude_index=own, temperature=0.2, decoupled=decoupled
    )
    return share_of_global_mean(total, count)


def gradient_after_a_step(ids: Tensor, decoupled: bool) -> tuple[float, list[Tensor]]:
    """One step's mean loss over ranks and its gradients, this rank holding its slice of the batch."""
    model = encoder()
    wrapped = DistributedDataParallel(model) if dist.is_initialized() else model
    rows = slice(rank() * len(ids) // world_size(), (rank() + 1) * len(ids) // world_size())
    loss = loss_of_rows(wrapped(IMAGES[rows]), ids[rows], decoupled)
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(all_reduce_sum(loss) / world_size()), gradients


CASES = [(ids, decoupled) for ids in (UNEQUAL_IDS, ACROSS_IDS) for decoupled in (False, True)]


def gradients_of_all_cases() -> list[tuple[float, list[Tensor]]]:
    return [gradient_after_a_step(ids, decoupled) for ids, decoupled in CASES]


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_n_processes_give_the_gradient_of_one(n: int) -> None:
    references = gradients_of_all_cases()
    for results in run_processes(n, gradients_of_all_cases):
        for (loss, gradients), (loss_of_one, gradients_of_one) in zip(results, references, strict=True):
            assert loss == pytest.approx(loss_of_one, rel=1e-13)
            assert len(gradients) == len(gradients_of_one) > 0
            for mine, reference in zip(gradients, gradients_of_one, strict=True):
                torch.testing.assert_close(mine, reference, rtol=0, atol=1e-13)


def positives_of_one_row_each() -> int:
    row = normalize(torch.randn(1, 4, generator=torch.Generator().manual_seed(rank())))
    ids = torch.tensor([77])
    keys = all_gather(row)
    own = torch.tensor([rank()])
    return int(multi_positive_nce(row, keys, ids, all_gather(ids), exclude_index=own, temperature=0.1)[1])


def test_one_prompt_on_two_ranks_is_a_positive() -> None:
    assert run_processes(2, positives_of_one_row_each) == [1, 1]


def gather_and_differentiate(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rows = (torch.arange(6, dtype=torch.float64).reshape(2, 3) + 10 * rank()).to(dtype).requires_grad_()
    gathered = all_gather(rows.T.contiguous().T)  # columns in memory: not contiguous
    weights = torch.arange(12, dtype=torch.float64).reshape(4, 3).to(dtype) * (rank() + 1)
    (gathered * weights).sum().backward()
    assert rows.grad is not None
    return gathered.detach(), rows.grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_backward_sums_what_all_ranks_say(dtype: torch.dtype) -> None:
    for own, (gathered, gradient) in enumerate(run_processes(2, gather_and_differentiate, dtype)):
        first = torch.arange(6).reshape(2, 3)
        assert torch.equal(gathered, torch.cat([first, first + 10]).to(dtype))
        assert torch.equal(gradient, (3 * torch.arange(12).reshape(4, 3)[2 * own : 2 * own + 2]).to(dtype))


def gather_unequal_rows() -> str:
    try:
        all_gather(torch.zeros(3 + rank(), 2))
    except ValueError as error:
        return str(error)
    return "no error"


def test_unequal_rows_are_a_clear_error_on_every_rank() -> None:
    for message in run_processes(2, gather_unequal_rows):
        assert "got [3, 4]" in message


def test_one_process_is_the_identity() -> None:
    tensor = torch.ones(2, 3)
    assert all_gather(tensor) is tensor
    assert (world_size(), rank()) == (1, 0)


def test_a_batch_without_any_positive_is_zero_and_still_in_the_graph() -> None:
    features = torch.randn(4, 3, requires_grad=True)
    total, count = multi_positive_nce(
        features, features, torch.arange(4), torch.arange(4), exclude_index=torch.arange(4), temperature=0.1
    )
    loss = share_of_global_mean(total, count)
    loss.backward()
    assert loss == 0
    assert count == 0
    assert features.grad is not None
    assert not features.grad.any()
