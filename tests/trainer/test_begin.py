"""Memory layout, recomputed activations and compilation change how fast a step is, not what it does."""

import copy
import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from manifests.errors import UserError
from tests.trainer import processes
from tests.trainer.data import make_dataset
from tests.trainer.objectives.tiny import FACTS, config_of, inputs_of, objective_of
from tests.trainer.processes import pretrain_words, run, start
from trainer.begin import checkpoint_activations
from trainer.pretrain import chosen_precision
from trainer.state import TrainingState

EXPORTED = "encoder/model.safetensors"
CPU = torch.device("cpu")
CONVOLUTIONS = {"backbone": "resnet10t", "arguments": {"channels": [4, 4, 4, 8], "stem_width": 4}, "size_px": 16}


def state_of(case, **more):
    return TrainingState(config_of(case, **more), CPU, FACTS)


def step(state, number=0):
    """One step's gradient, before it is taken."""
    inputs = inputs_of(state.objective, state.config, seed=number)
    loss, _ = state.objective(inputs._replace(crops=tuple(crop.float() for crop in inputs.crops)))
    loss.backward()
    gradient = {name: p.grad.clone() for name, p in state.objective.named_parameters() if p.grad is not None}
    assert state.step(loss) is not None
    return gradient


@pytest.mark.parametrize(("case", "encoder"), [("simclr", CONVOLUTIONS), ("stablerep", None)])
def test_recomputed_activations_give_the_gradient_of_kept_ones(case, encoder):
    more = {} if encoder is None else {"encoder": encoder}
    kept, recomputed = state_of(case, **more), state_of(case, gradient_checkpointing=True, **more)
    passes = {"kept": 0, "recomputed": 0}
    for name, state in (("kept", kept), ("recomputed", recomputed)):
        last = [m for m in state.objective.encoder.backbone.modules() if any(True for _ in m.parameters(recurse=False))]

        def count(module, arguments, output, name=name):
            passes[name] += 1

        last[len(last) // 2].register_forward_hook(count)  # somewhere in the middle of the blocks
    gradients = [step(state) for state in (kept, recomputed)]
    assert passes["recomputed"] == 2 * passes["kept"] > 0
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        assert torch.allclose(gradients[1][name], value, rtol=1e-4, atol=1e-6), name


def test_a_backbone_that_cannot_recompute_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"gradient_checkpointing: vit_tiny_patch16_224 has none; leave it off"):
        checkpoint_activations(objective_of(config_of("cmc")))


def test_convolutions_and_their_moments_lie_channels_last_before_and_after_a_resume():
    state, resumed = (state_of("simclr", encoder=CONVOLUTIONS) for _ in range(2))
    step(state)
    resumed.load(state.images_seen, copy.deepcopy(state.state_dict()))
    for one in (state, resumed):
        weights = [p for p in one.objective.encoder.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert len(weights) > 5
        for weight in weights:
            for value in (weight, *(m for m in one.optimizer.state[weight].values() if m.shape == weight.shape)):
                assert value.is_contiguous(memory_format=torch.channels_last)
                assert not value.is_contiguous()


def test_float16_is_refused_where_nothing_would_be_cast(monkeypatch):
    config = config_of("stablerep", precision="float16")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UserError, match="precision: float16 needs a GPU; take bfloat16 or float32"):
        chosen_precision(config)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert chosen_precision(config) == "float16"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=2)


def test_a_run_begins_with_another_ones_encoder_and_is_no_resume(tmp_path, url):
    first, second = tmp_path / "first", tmp_path / "second"
    other = {"seed": 1, "init": str(first), "optimizer__base_learning_rate": 1e-12}
    for out, more in ((first, {}), (second, other)):
        code, said = run(pretrain_words(url, out, images=32, optimizer__weight_decay=0, **more))
        assert code == 0, said
    lines = [json.loads(text) for text in (second / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [16, 32]  # from the start
    weights_sha256 = hashlib.sha256((first / EXPORTED).read_bytes()).hexdigest()
    assert json.loads((second / "encoder" / "viewmill.json").read_text())["init_sha256"] == weights_sha256
    assert "init_sha256" not in json.loads((first / "config.json").read_text())
    before, after = (load_file(out / "encoder" / "model.safetensors") for out in (first, second))
    weights = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)
    heads = [load_file(out / "encoder" / "heads.safetensors")["head.0.weight"] for out in (first, second)]
    assert not torch.allclose(*heads, atol=1e-3)  # these are new

    shutil.rmtree(first)  # what a run began with is not needed to go on with it, as on another machine
    shutil.rmtree(second / "encoder")
    code, said = run(pretrain_words(url, second, images=32, optimizer__weight_decay=0, **other))
    assert code == 0, said
    assert all(torch.equal(value, after[name]) for name, value in load_file(second / EXPORTED).items())


def telling(words, log, largest_file_bytes, environment):
    """Be the command line, and print what is compiled."""
    compiled = torch.compile

    def told(module):
        print(f"compiling {type(module).__name__}", flush=True)
        return compiled(module)

    torch.compile = told
    processes._run(words, log, largest_file_bytes, environment)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_compiled_run_learns_the_same(tmp_path, url):
    curves = []
    for name in ("false", "true"):
        words = pretrain_words(url, tmp_path / name, images=64, compile=name)
        code, said = start(words, target=telling).wait(1500)
        assert code == 0, said
        assert ("compiling StableRep" in said) == (name == "true")
        lines = [json.loads(text) for text in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines])
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
