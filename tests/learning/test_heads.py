"""The gathered batch norm is BatchNorm1d on the concatenated batch, on one process and on several."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from learning.gather import rank, world_size
from learning.heads import GatheredBatchNorm, Norm, ProjectionHead
from tests.distributed.harness import run_processes

ROWS = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 4 + 7
WEIGHTS = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def own_rows(rows: Tensor) -> Tensor:
    return rows.unflatten(0, (world_size(), -1))[rank()].clone()


def set_affine(norm: nn.Module) -> nn.Module:
    with torch.no_grad():
        for value, parameter in enumerate(norm.parameters()):
            parameter.copy_(torch.linspace(-1, 1.5, 5) + value)
    return norm.double().train()


def outcome_of_two_steps() -> dict[str, Tensor]:
    norm = set_affine(GatheredBatchNorm(5))
    rows = own_rows(ROWS).requires_grad_()
    wrapped = DistributedDataParallel(norm) if world_size() > 1 else norm
    wrapped(own_rows(ROWS) * 2 - 1)
    result = wrapped(rows)
    ((result * own_rows(WEIGHTS)).sum() * world_size()).backward()
    grads = {name: parameter.grad for name, parameter in norm.named_parameters()}
    assert rows.grad is not None
    return {"result": result.detach(), "rows": rows.grad / world_size(), **grads, **dict(norm.named_buffers())}


def outcome_of_torch() -> dict[str, Tensor]:
    norm = set_affine(nn.BatchNorm1d(5))
    rows = ROWS.clone().requires_grad_()
    norm(ROWS * 2 - 1)
    result = norm(rows)
    (result * WEIGHTS).sum().backward()
    grads = {name: parameter.grad for name, parameter in norm.named_parameters()}
    assert rows.grad is not None
    return {"result": result.detach(), "rows": rows.grad, **grads, **dict(norm.named_buffers())}


def assert_equal_outcomes(mine: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    reference.pop("num_batches_tracked", None)
    assert mine.keys() == reference.keys()
    for name, expected in reference.items():
        torch.testing.assert_close(mine[name], expected, rtol=0, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


def test_one_process_is_batch_norm() -> None:
    assert_equal_outcomes(outcome_of_two_steps(), outcome_of_torch())


def test_two_processes_are_batch_norm_of_the_concatenated_batch() -> None:
    reference = outcome_of_torch()
    for own, mine in enumerate(run_processes(2, outcome_of_two_steps)):
        here = slice(own * 4, own * 4 + 4)
        rows = {"result": reference["result"][here], "rows": reference["rows"][here]}
        assert_equal_outcomes(mine, {**reference, **rows})


def test_evaluation_uses_the_running_statistics() -> None:
    mine, reference = set_affine(GatheredBatchNorm(5)), set_affine(nn.BatchNorm1d(5))
    for norm in (mine, reference):
        norm(ROWS)
        norm.eval()
    torch.testing.assert_close(mine(ROWS), reference(ROWS), rtol=0, atol=1e-13)


def test_the_gradient_is_right() -> None:
    norm = set_affine(GatheredBatchNorm(5))
    assert torch.autograd.gradcheck(lambda rows: norm(rows), (ROWS.clone().requires_grad_(),))


def test_autocast_leaves_the_arithmetic_in_float32() -> None:
    norm = GatheredBatchNorm(5)
    rows = ROWS.float()
    plain = norm(rows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(rows), plain)
    assert norm(rows.bfloat16()).dtype == torch.bfloat16


def test_a_single_row_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 row over all ranks"):
        GatheredBatchNorm(5)(torch.zeros(1, 5))


@pytest.mark.parametrize(("layers", "linears"), [(1, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_head_has_its_layers_and_sizes(layers: int, linears: int, norm: str) -> None:
    head = ProjectionHead(7, 11, 3, layers=layers, norm=norm)  # type: ignore[arg-type]
    assert head(torch.randn(4, 7)).shape == (4, 3)
    assert sum(isinstance(part, nn.Linear) for part in head) == linears
    assert isinstance(head[-1], nn.Linear)


@pytest.mark.parametrize(("norm", "over"), [("layer", 1), ("batch", 0)])
def test_a_head_may_normalise_its_output_without_weights(norm: Norm, over: int) -> None:
    head = ProjectionHead(7, 11, 3, layers=2, norm=norm, is_output_normalised=True).double()
    plain = ProjectionHead(7, 11, 3, layers=2, norm=norm).double()
    rows = head(torch.randn(64, 7, dtype=torch.float64))
    torch.testing.assert_close(rows.mean(dim=over), torch.zeros(rows.shape[1 - over], dtype=torch.float64))
    torch.testing.assert_close(rows.square().mean(dim=over).mean().item(), 1.0, rtol=0, atol=1e-2)
    dropped = {"3.bias"} if norm == "batch" else set()  # batch norm would subtract it
    assert dict(plain.named_parameters()).keys() - dict(head.named_parameters()).keys() == dropped
    assert dict(head.named_parameters()).keys() <= dict(plain.named_parameters()).keys()
