"""Learned views from the command line: a flow is learned and handed on as a file, and encoders see through it."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from manifests.errors import ConflictError
from tests.trainer.data import make_dataset
from tests.trainer.killing import signal_after
from tests.trainer.processes import overrides, pretrain_words, run
from trainer.config import load_config
from trainer.data_facts import DataFacts
from trainer.encoders import load_encoder
from trainer.export import export_run
from trainer.flow_file import read_flow
from trainer.run import Run, read_pinned
from trainer.splits import FlowSplit

IMAGES = {"images": 64, "objective__flow_rate": 3.0, "objective__least_nats": 0.0}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=2)


@pytest.fixture(scope="module")
def learned(tmp_path_factory, url):
    folder = tmp_path_factory.mktemp("runs") / "views"
    code, said = run(pretrain_words(url, folder, "learned_views", **IMAGES))
    assert code == 0, said
    return folder


def tensors(module):
    return [value.detach().clone() for value in module.state_dict().values()]


def test_a_run_leaves_a_flow_that_moved_and_can_be_undone(learned):
    space, flow = read_flow(learned)
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    views = flow(images)[0]
    assert space == "rgb"
    assert (views - images).abs().max() > 1e-3
    assert (flow.inverse(views) - images).abs().max() <= 1e-5
    facts = json.loads((learned / "encoder" / "flow.json").read_text())
    assert facts["made_by"]["config"]["objective"]["name"] == "learned_views"
    last = json.loads((learned / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"i_nce_nats", "over_shrunk", "gives_way", "inversion_error", "label_accuracy"} <= set(last)


def test_encoders_see_through_the_flow_which_stays_as_it_is(learned, url, tmp_path):
    flow = {"encoder__split": "flow", "encoder__flow__weights": learned}
    code, said = run(pretrain_words(url, tmp_path / "run", "cmc", images=48, **flow))
    assert code == 0, said
    encoder, _ = load_encoder(tmp_path / "run")
    assert isinstance(encoder.cut, FlowSplit)
    before = tensors(read_flow(learned).flow)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(encoder.cut.flow), strict=True))
    assert not any(parameter.requires_grad for parameter in encoder.cut.parameters())
    code, said = run(["embed", str(tmp_path / "run"), url, str(tmp_path / "features.parquet")])
    assert code == 0, said
    fresh, _ = load_encoder(tmp_path / "run", trained=False)  # the random baseline sees the same views
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(fresh.cut.flow), strict=True))


def test_a_run_goes_on_when_the_flow_that_it_began_with_is_gone(learned, url, tmp_path):
    given = Path(shutil.copytree(learned / "encoder", tmp_path / "flow"))
    folder, flow = tmp_path / "run", {"encoder__split": "flow", "encoder__flow__weights": given}
    words = pretrain_words(url, folder, "cmc", images=20_000, checkpoint_images=10_000, **flow)
    assert signal_after(words, folder, 32, signal.SIGTERM) == 75
    assert len(read_pinned(folder)["flow_sha256"]) == 64
    shutil.rmtree(given)
    early = export_run(folder, tmp_path / "early")  # the checkpoint holds the flow
    assert signal_after(words, folder, early + 32, signal.SIGTERM) == 75
    assert export_run(folder, tmp_path / "late") > early
    flows = [tensors(read_flow(one).flow) for one in (learned, tmp_path / "early", tmp_path / "late")]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*flows, strict=True))


def test_another_flow_under_the_same_name_is_another_run(learned, tmp_path):
    given = Path(shutil.copytree(learned / "encoder", tmp_path / "flow"))
    chosen = overrides(encoder__split="flow", encoder__flow__weights=given)
    mine = Run(tmp_path / "run", load_config("cmc", chosen), [])
    mine.folder.mkdir()
    mine.pin(DataFacts())
    mine.check(DataFacts())
    (given / "flow.safetensors").write_bytes(b"another")
    with pytest.raises(ConflictError, match=r"flow_sha256: \"[0-9a-f]{64}\" there"):
        mine.check(DataFacts())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"encoder__split": "flow"},
            "encoder.split is flow; set encoder.flow.weights, or take the learned_views preset",
        ),
        ({"encoder__split": "flow", "encoder__flow__weights": "absent"}, "absent holds no learned views"),
        (
            {"encoder__split": "flow", "encoder__flow__weights": "{views}", "encoder__flow__couplings": 2},
            "holds another flow; set encoder.flow to space=rgb, coupling=additive, couplings=4, hidden=16",
        ),
    ],
)
def test_a_flow_that_is_not_there_or_another_is_one_line(learned, url, tmp_path, settings, words):
    chosen = {key: str(value).format(views=learned) for key, value in settings.items()}
    code, said = run(pretrain_words(url, tmp_path / "run", "cmc", **chosen))
    assert (code, "Traceback" in said) == (2, False), said
    assert words in said.strip().splitlines()[-1]


def test_frequencies_split_an_encoder_too_and_knobs_change_an_augmentation(url, tmp_path):
    knobs = {"knobs__crop_area": 0.3, "knobs__jitter": 0.5, "encoder__split": "frequency", "encoder__blur_px": 2.0}
    code, said = run(pretrain_words(url, tmp_path / "run", "cmc", images=32, **knobs))
    assert code == 0, said
    encoder, _ = load_encoder(tmp_path / "run")
    assert (encoder.split, encoder.cut.blur_px, encoder.backbone.channels) == ("frequency", 2.0, (3, 3))
    from trainer.objectives.presets import crop

    recipe = crop(load_config("cmc", overrides(**knobs))).augmentation
    assert recipe.crop_area == (0.3, 1.0)
    assert (recipe.jitter.brightness, recipe.jitter.hue) == pytest.approx((0.4, 0.1))
