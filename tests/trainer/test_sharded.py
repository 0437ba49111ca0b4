"""FSDP2 in two real gloo processes: the weights of DDP, checkpoints of whole tensors that anybody goes on from."""

import copy

import pytest
import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from learning.checkpoint import load_newest
from learning.gather import rank, world_size
from manifests.errors import UserError
from tests.distributed.harness import run_processes
from tests.trainer.data import make_dataset
from tests.trainer.killing import Watched
from tests.trainer.objectives.tiny import FACTS, config_of, inputs_of, objective_of
from tests.trainer.processes import pretrain_words
from trainer.encoders import load_encoder
from trainer.sharded import check_shardable, check_wrapped
from trainer.state import TrainingState

CPU = torch.device("cpu")
GROUPS = 4


def config(case, **more):
    return config_of(case, ema_half_life_images=16, groups=GROUPS, **more)


def model_of(state):
    plain = world_size() == 1 or state.config.fully_sharded
    model = state.objective if plain else DistributedDataParallel(state.objective)
    check_wrapped(model, state.objective, state.config)
    return model


def step(state, model, number):
    inputs = inputs_of(state.objective, state.config, seed=number)
    inputs = inputs._replace(crops=tuple(crop.float() for crop in inputs.crops))
    part = GROUPS // world_size()
    loss, _ = model(inputs.part(slice(rank() * part, (rank() + 1) * part)))
    loss.backward()
    assert state.step(loss) is not None


def three_steps(case, optimizer, fully_sharded):
    """The weights and their average after three steps, and again after two, a resume and one."""
    settings = config(case, optimizer={"name": optimizer}, fully_sharded=fully_sharded)
    state, resumed = (TrainingState(settings, CPU, FACTS) for _ in range(2))
    model = model_of(state)
    for number in range(2):
        step(state, model, number)
    resumed.load(state.images_seen, copy.deepcopy(state.state_dict()))
    step(state, model, 2)
    step(resumed, model_of(resumed), 2)
    found = {"straight": state.state_dict(), "resumed": resumed.state_dict()}
    assert not any(isinstance(value, DTensor) for value in found["straight"]["objective"].values())
    held = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in state.objective.parameters())
    return {name: {part: one[part] for part in ("objective", "ema")} for name, one in found.items()} | {"held": held}


@pytest.mark.parametrize(("case", "optimizer"), [("stablerep", "sgd"), ("moco", "adamw")])
def test_sharded_weights_are_those_of_ddp_and_a_resume_changes_no_bit(case, optimizer):
    plain = run_processes(2, three_steps, case, optimizer, False, timeout_s=240)
    cut = run_processes(2, three_steps, case, optimizer, True, timeout_s=240)
    for one, other in zip(plain, cut, strict=True):
        assert other["held"] < 0.6 * one["held"]  # half, but for what is too small to be cut
        for part in ("objective", "ema"):
            for name, value in one["straight"][part].items():
                assert torch.allclose(other["straight"][part][name], value, atol=2e-6), (part, name)
                assert torch.equal(other["straight"][part][name], other["resumed"][part][name]), (part, name)


def refused(case, **more):
    settings = config(case, fully_sharded=True, **more)
    with pytest.raises(UserError) as found:
        check_shardable(objective_of(settings), settings)
    return str(found.value)


def test_what_cannot_be_computed_part_by_part_is_refused_in_one_line():
    assert refused("stablerep") == "fully_sharded does not go with one process: start several with torchrun"
    said = refused("clip", precision="float16", optimizer={"name": "lars"})
    assert "float16: take bfloat16; nor with optimizer.name=lars: take adamw or sgd; nor with clip, whose " in said


def wrapped_otherwise():
    settings = config("stablerep", fully_sharded=True)
    state = TrainingState(settings, CPU, FACTS)
    assert isinstance(state.objective, FSDPModule)
    plain = objective_of(settings)
    said = []
    for one in (settings, settings.model_copy(update={"fully_sharded": False})):
        try:
            check_wrapped(plain, plain, one)
        except RuntimeError as error:
            said.append(str(error))
    return said


def test_a_model_that_is_not_wrapped_as_asked_is_an_error():
    for said in run_processes(2, wrapped_otherwise):
        assert "expected FSDPModule" in said[0]
        assert "expected DistributedDataParallel" in said[1]


@pytest.mark.slow
def test_a_sharded_run_is_probed_saved_and_exported_like_any(tmp_path):
    url = make_dataset(tmp_path / "set", groups=80, views=2)
    options = {"images": 64, "ema_half_life_images": 32, "checkpoint_images": 32, "fully_sharded": "true"}
    probe = "{set: clipart26, every_images: 32, images: 200}"
    words = pretrain_words(url, tmp_path / "run", probe=probe, precision="bfloat16", **options)
    Watched(words, tmp_path / "run", tmp_path / "notes").finish(2)
    images_seen, state = load_newest(tmp_path / "run" / "checkpoints")
    encoder, _ = load_encoder(tmp_path / "run")
    assert images_seen == 64
    assert all(
        torch.equal(value, state["ema"][f"encoder.backbone.{name}"])
        for name, value in encoder.backbone.state_dict().items()
    )
    assert '"probe_average_ridge"' in (tmp_path / "run" / "metrics.jsonl").read_text()
