"""Fully sharded data parallelism (FSDP2): each rank holds a part of every weight, gradient and moment.

For models that one device cannot hold. Checkpoints are whole tensors, gathered for every save: those of any other run,
which may go on sharded or not and with any number of ranks. Source: torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from learning.gather import world_size
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.objectives.objective import Objective

_OPTIMIZERS = ("adamw", "sgd")  # the others take norms and products of whole matrices


def check_shardable(objective: Objective, config: RunConfig) -> None:
    """Raise UserError for what is not computed part by part."""
    scalars = [name for name, parameter in objective.named_parameters() if parameter.ndim == 0]
    reasons = {
        "one process: start several with torchrun": world_size() == 1,
        "float16: take bfloat16": config.precision == "float16",
        "cache_groups, which calls parts of the model": config.cache_groups is not None,
        "compile": config.compile,
        f"optimizer.name={config.optimizer.name}: take {' or '.join(_OPTIMIZERS)}": config.optimizer.name
        not in _OPTIMIZERS,
        f"{config.objective.name}, whose {', '.join(scalars)} cannot be cut": bool(scalars),
    }
    if found := [reason for reason, applies in reasons.items() if applies]:
        raise UserError(f"fully_sharded does not go with {'; nor with '.join(found)}")


def shard(objective: Objective) -> None:
    """Cut all weights in place: the backbone's blocks, the rest of the encoder and the heads are gathered in turn."""
    mesh = init_device_mesh(next(objective.parameters()).device.type, (world_size(),))
    stages = [stage for stage in objective.encoder.backbone.children() if isinstance(stage, nn.Sequential)]
    blocks = [block for stage in stages for block in stage if any(True for _ in block.parameters())]
    for module in (*blocks, objective.encoder, objective):
        fully_shard(module, mesh=mesh)


def check_wrapped(model: nn.Module, objective: Objective, config: RunConfig) -> None:
    """Raise RuntimeError unless the model is really what was asked for: launchers have options that do nothing."""
    if config.fully_sharded:
        uncut = [name for name, parameter in objective.named_parameters() if not isinstance(parameter, DTensor)]
        is_right = isinstance(objective, FSDPModule) and not uncut
    else:
        is_right = world_size() == 1 or isinstance(model, DistributedDataParallel)
    if not is_right:
        wanted = "FSDPModule" if config.fully_sharded else "DistributedDataParallel"
        raise RuntimeError(f"{world_size()} processes train a {type(model).__name__}, expected {wanted}: this is a bug")


def whole(value: Any) -> Any:
    """Return nested state with the parts of all ranks put together; all ranks must ask."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {name: whole(one) for name, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


def part_like(value: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of a whole tensor that belongs to a sharded one; others as they are."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    part: Tensor = distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return part


def parts_like(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return a module's whole state as the module holds it."""
    own = module.state_dict()
    return {name: part_like(value, own[name]) for name, value in state.items()}


def moments_like(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimizer's whole state cut as its weights are."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    cut = {
        number: {name: part_like(value, weights[number]) for name, value in moments.items()}
        for number, moments in state["state"].items()
    }
    return {**state, "state": cut}
