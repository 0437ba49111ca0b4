"""One real process against two joined by gloo: same batches, same gradient, same weights."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from learning.checkpoint import load_newest
from learning.gather import rank, world_size
from manifests.dataset import open_dataset
from manifests.errors import UserError
from tests.distributed.harness import run_processes
from tests.trainer.data import make_dataset
from tests.trainer.killing import Watched, lines
from tests.trainer.objectives.tiny import FACTS, config_of, inputs_of
from tests.trainer.processes import overrides, pretrain_words, run
from trainer.config import load_config
from trainer.crops import build_inputs
from trainer.distributed import check_launch, check_same_start, check_same_weights, own_columns
from trainer.objectives import build_objective
from trainer.state import TrainingState
from trainer.stream import Stream

GROUP_NORM = "{channels: [8, 8, 16, 16], stem_width: 8, norm_layer: groupnorm1}"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    prompts = [f"prompt {group % 9}" for group in range(18)]  # some batches hold one prompt twice, on other ranks too
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=18, views=2, prompts=prompts)


def one_step(url, preset, norm):
    """Loss of the global batch and the gradient that DDP hands to the optimizer, in float64."""
    config = load_config(preset, overrides(encoder__arguments=GROUP_NORM, objective__norm=norm, batch_images=32))
    torch.manual_seed(0)
    objective = build_objective(config).double()
    stream = Stream(
        [open_dataset(url)], batch_groups=config.batch_groups, views=2, seed=0, rank=rank(), world=world_size()
    )
    inputs = build_inputs(stream.batch(0), objective, config, CPU)
    inputs = inputs._replace(crops=tuple(crop.double() for crop in inputs.crops))
    model = DistributedDataParallel(objective) if world_size() > 1 else objective
    loss, report = model(inputs)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in objective.parameters()])
    return {"report": report["loss"], "uneven": report["alignment"], "gradient": gradient}


@pytest.mark.parametrize(("preset", "norm"), [("stablerep", "batch"), ("simclr", "layer")])
def test_two_ranks_have_the_loss_and_gradient_of_one_process(url, preset, norm):
    whole = one_step(url, preset, norm)
    for part in run_processes(2, one_step, url, preset, norm):
        assert part["report"] == pytest.approx(whole["report"].item(), rel=1e-6)  # logged from float32 embeddings
        assert torch.allclose(part["gradient"], whole["gradient"], rtol=1e-3, atol=1e-6)
        assert torch.nn.functional.cosine_similarity(part["gradient"], whole["gradient"], dim=0) > 1 - 1e-9


def columns(rows):
    return own_columns(rows, CPU)


def test_every_anchor_knows_its_own_column():
    assert [part.tolist() for part in run_processes(2, columns, 3)] == [[0, 1, 2], [3, 4, 5]]


def different_weights():
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(float(rank()))
    try:
        check_same_weights(layer)
    except RuntimeError as error:
        return str(error)
    return ""


def test_ranks_that_drifted_apart_are_noticed():
    assert all("different weights" in text for text in run_processes(2, different_weights))


def three_steps_of_which_one_overflows_on_rank_one():
    config = config_of("stablerep", groups=4)
    state = TrainingState(config, CPU, FACTS)
    model, weights, taken = DistributedDataParallel(state.objective), [], []
    for number, spoilt in enumerate((False, True, False)):
        own = inputs_of(state.objective, config, seed=number).part(slice(2 * rank(), 2 * rank() + 2))
        by = float("inf") if spoilt and rank() == 1 else 1.0
        loss, _ = model(own._replace(crops=tuple(crop.float() * by for crop in own.crops)))
        loss.backward()
        taken.append(state.step(loss) is not None)
        weights.append(torch.cat([p.detach().flatten() for p in state.objective.parameters()]))
    check_same_weights(state.objective)
    moved = [not torch.equal(*pair) for pair in pairwise(weights)]
    return {"taken": taken, "moved": moved, "finite": bool(weights[2].isfinite().all()), "skipped": state.guard.skipped}


def test_what_overflows_on_one_rank_is_skipped_by_all_and_changes_no_weight():
    expected = {"taken": [True, False, True], "moved": [False, True], "finite": True, "skipped": 1}
    assert run_processes(2, three_steps_of_which_one_overflows_on_rank_one) == [expected, expected]


def different_starts():
    try:
        check_same_start(16 * (1 - rank()), CPU, "runs/a")
    except UserError as error:
        return str(error)
    return ""


def test_nodes_that_would_go_on_from_different_checkpoints_are_refused():
    expected = "runs/a: this process would go on from {} images, the first one from 16: give a folder that all nodes"
    found = run_processes(2, different_starts)
    assert [text.startswith(expected.format(seen)) for text, seen in zip(found, (16, 0), strict=True)] == [True, True]
    check_same_start(16, CPU, "runs/a")


def launched(launcher, words, **environment):
    return subprocess.run(
        [sys.executable, *launcher, *words],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_one_process_where_several_were_asked_for_is_refused(tmp_path, url):
    """What accelerate does with several processes and no GPUs: it starts one, and says nothing."""
    launcher = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "-m", "trainer"]
    done = launched(launcher, pretrain_words(url, tmp_path / "run", images=48))
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "asked for several processes and started one" in lines[0]
    assert not (tmp_path / "run").exists()


def test_one_process_that_was_asked_for_or_one_of_several_goes_on():
    check_launch(1, {"MASTER_ADDR": "127.0.0.1"})
    check_launch(1, {"ACCELERATE_MIXED_PRECISION": "no"})
    check_launch(2, {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_MIXED_PRECISION": "no"})


def test_two_launched_processes_that_learn_by_parts_learn_what_one_learns(tmp_path, url):
    """The real loop, in which DDP wraps a model whose parts are called without it."""
    options = {"images": 64, "encoder__arguments": GROUP_NORM, "objective__norm": "layer"}
    code, said = run(pretrain_words(url, tmp_path / "one", **options))
    assert code == 0, said
    words = pretrain_words(url, tmp_path / "two", cache_groups=3, **options)
    Watched(words, tmp_path / "two", tmp_path / "notes").finish(2)
    one, two = (load_newest(tmp_path / name / "checkpoints")[1]["objective"] for name in ("one", "two"))
    losses = [[line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert all(torch.allclose(value, two[name], atol=1e-3) for name, value in one.items())


def test_two_launched_processes_train_one_encoder(tmp_path, url):
    """Launched as a user would; the weights agree or the save would have refused (check_same_weights)."""
    words = pretrain_words(url, tmp_path / "run", images=48, encoder__arguments=GROUP_NORM)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "trainer"]
    done = launched(launcher, words, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    images_seen, _ = load_newest(tmp_path / "run" / "checkpoints")
    assert images_seen == 48
    assert done.stderr.count("48/48 images") == 1  # one rank speaks
    assert (tmp_path / "run" / "encoder" / "config.json").is_file()
