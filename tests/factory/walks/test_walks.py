"""Learning walks: planted ones are recovered, resumed runs equal uninterrupted ones, commands end as they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from factory.__main__ import app
from factory.builtin import loop
from factory.walks.config import WalksConfig, configured
from factory.walks.edits import edited
from factory.walks.file import parse_learned, read_bytes
from factory.walks.folder import stoppable
from factory.walks.frozen import Frozen, LatentLaw
from factory.walks.steering import Steering, Walks, draw_alphas, masked_error
from factory.walks.train_walks import WalksRun
from learning.checkpoint import load_newest, save
from manifests.errors import ConflictError, CorruptError, UserError
from tests.factory.walks.toys import CPU, Spot, spot, tiny_folder

SHORT = {"images": 32, "batch_images": 8, "checkpoint_images": 16, "warmup_images": 8, "measure_images": 16}


def config(**more: Any) -> WalksConfig:
    return WalksConfig.model_validate({**SHORT, **more})


def silent(line: Any) -> None:
    pass


def test_planted_walks_are_recovered(tmp_path: Path) -> None:
    frozen = spot()
    assert isinstance(frozen.network, Spot)
    laws = {"shift_x": (-0.5, 0.5), "shift_y": (-0.5, 0.5)}
    settings = {"transforms": tuple(laws), "laws": laws, "space": "z", "images": 1600, "learning_rate": 0.1}
    steering = Steering(frozen, config(**settings, batch_images=16, cooldown_images=800))
    loop.train(steering, steering.config.schedule, tmp_path, silent)
    for row, way in zip(steering.walks.directions.detach(), (frozen.network.across, frozen.network.down), strict=True):
        useful = row @ way
        assert useful == pytest.approx(100 / 256 * 10, rel=0.2)  # a tenth of the side a step
    nuisance = steering.walks.directions.detach() @ torch.stack([frozen.network.down, frozen.network.across]).T
    assert nuisance.diagonal().abs().max() < 0.8


def test_the_loss_is_the_masked_error_of_the_edited_image() -> None:
    frozen = spot()
    steering = Steering(frozen, config(transforms=("zoom", "red"), space="w"))
    loss, report = steering.loss(24, 8)
    latents = frozen.latents(1, "walks", 24, 8)
    from manifests import seeds

    alphas = draw_alphas(steering.laws, seeds.derive(1, "alphas/24"), 8, CPU)
    images = frozen.images(latents)
    wanted, mask = edited(images, alphas)
    vectors = dict(zip(steering.walks.names, steering.walks.directions, strict=True))
    step = sum(alphas[name][:, None] * vectors[name] for name in alphas)
    moved = frozen.images(latents, step, "w")
    expected = (((moved - wanted) ** 2) * mask).sum() / (3 * mask.sum())
    torch.testing.assert_close(loss, expected)
    assert report["loss_without_step"] == pytest.approx(masked_error(images, wanted, mask).item())


@pytest.mark.parametrize(("space", "imitate"), [("z", "genrep"), ("w", "simclr"), ("w+", "genrep")])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, space: str, imitate: str) -> None:
    frozen = Frozen.open(str(tiny_folder(tmp_path / "model")), LatentLaw(), CPU)

    def learn(folder: str, *lengths: int) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        for images in lengths:
            steering = Steering(frozen, config(space=space, imitate=imitate, images=images, active=0.7))
            loop.train(steering, steering.config.schedule, tmp_path / folder, silent)
        lines = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        return steering.state(), [{k: v for k, v in line.items() if k != "images_per_s"} for line in lines]

    (state, lines), (again, other_lines) = learn("whole", 32), learn("parts", 16, 32)
    assert lines == other_lines
    assert state.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in state.items())


def test_held_out_latents_are_others_and_every_draw_can_be_repeated() -> None:
    frozen = spot()
    first, again, other = (frozen.latents(1, purpose, 0, 4).z for purpose in ("walks", "walks", "held-out walks"))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()


def test_a_step_in_z_is_in_units_of_tau_and_w_plus_is_a_step_for_each_layer(tmp_path: Path) -> None:
    frozen = Frozen.open(str(tiny_folder(tmp_path / "model")), LatentLaw(tau=0.5, noise="const"), CPU)
    latents = frozen.latents(1, "walks", 0, 2)
    net, psi = frozen.network, torch.ones(2)
    noise = [one.expand(2, -1, -1, -1) for one in net.constant_noise()]
    ws = net.map(0.5 * latents.z + 0.5, latents.class_ids, psi)
    torch.testing.assert_close(frozen.images(latents, torch.ones(2, 8)), net.synthesize(ws, None, psi, noise))
    assert frozen.dimensions("w+") == 8 * net.num_layers
    step = torch.arange(2 * 8 * net.num_layers).view(2, -1) / 100
    ws = net.map(0.5 * latents.z, latents.class_ids, psi) + step.view(2, net.num_layers, 8)
    torch.testing.assert_close(frozen.images(latents, step, "w+"), net.synthesize(ws, None, psi, noise))


def test_a_files_step_is_the_modules(tmp_path: Path) -> None:
    walks = Walks(tuple(config(imitate="simclr").chosen_laws()), 6, 5, config(imitate="simclr"))
    from factory.walks.file import LearnedFacts, to_bytes

    laws = config(imitate="simclr").chosen_laws()
    facts = LearnedFacts(kind="walks", generator_sha256="ab" * 32, laws=laws, inputs=walks.inputs)
    learned = parse_learned(to_bytes(facts, walks.arrays(tuple(laws))), "walks", "file")
    z, alphas = torch.randn(3, 6), draw_alphas(laws, 5, 3, CPU)
    expected = walks(z, alphas).detach()
    for row in range(3):
        found = learned.step(z[row].double().numpy(), {name: float(alphas[name][row]) for name in laws})
        torch.testing.assert_close(torch.from_numpy(found).float(), expected[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("transforms=[zoomm]", "did you mean zoom"),
        ("transforms=[hue]", "not among what genrep changes"),
        ("laws.zoom=[0.5,1]", "zoom"),
        ("space=x", "space"),
        ("imagess=3", "did you mean images"),
    ],
)
def test_a_config_that_makes_no_sense_is_one_line(change: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        configured(WalksConfig, [change])
    with pytest.raises(UserError, match="a crop needs all of"):
        configured(WalksConfig, ["imitate=simclr", "transforms=[hue,crop_x]"])


def test_the_commands_train_measure_and_refuse(tmp_path: Path) -> None:
    model, out = tiny_folder(tmp_path / "model"), tmp_path / "walks.safetensors"
    changes = {"transforms": "[red]", "images": 480, "batch_images": 16, "learning_rate": 0.1, "warmup_images": 16}
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    command = ["train-walks", str(model), str(out), "--space", "w+", *options, "--set", "measure_images=32", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    (red,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert red["passes"]
    learned = parse_learned(read_bytes(out, "walks"), "walks", "file")
    made_by = learned.facts.made_by
    assert (learned.names, made_by["left_out"], made_by["measured"]) == (("red",), [], [red])
    again = CliRunner().invoke(app, ["measure-walks", str(model), str(out), "--images", "32", "--json"])
    assert json.loads(again.stdout) == red
    with pytest.raises(ConflictError, match=r"space"):
        WalksRun(str(model), out, config(space="z"), silent).go()


def test_walks_that_do_nothing_are_not_shipped(tmp_path: Path) -> None:
    model, out = tiny_folder(tmp_path / "model"), tmp_path / "walks.safetensors"
    run = WalksRun(str(model), out, config(transforms=("rot2d",), images=8, learning_rate=1e-9), silent)
    with pytest.raises(UserError, match="not written: no walk reaches"):
        run.go()
    assert not out.exists()
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        WalksRun(str(model), tmp_path / "walks", config(), silent)


def test_a_run_whose_checkpoints_are_all_broken_is_one_line_and_no_new_beginning(tmp_path: Path) -> None:
    (save(tmp_path / "checkpoints", {"seen": 1}, images_seen=1) / "state.json").write_text("{}")
    with pytest.raises(CorruptError, match=r"walk: none of the 1 checkpoints in .* is whole"), stoppable(Path("walk")):
        load_newest(tmp_path / "checkpoints")
