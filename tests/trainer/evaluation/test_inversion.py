"""An inverter of a linear toy generator, on groups that it never saw; and of latents that belong to other images."""

import json

import numpy as np
import pytest
import torch

from manifests.errors import ConflictError, UserError
from tests.trainer.data import encode, make_dataset
from tests.trainer.processes import pretrain_words, run
from trainer.evaluation.inversion import cross_predicted, inversion, r_squared

GROUPS, HELD_OUT, WIDE = 192, 60, 3
SCALES = np.array([1.0, 0.001, 100.0])  # of the numbers: all are to be guessed alike
VIT = "{img_size: 16, patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}"


def toy(seed, groups):
    """Latents, and images that are linear in them: a pattern of their own for each number."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(0, 14, (WIDE, 16, 16, 3))
    drawn = {(g, 0): rng.normal(size=WIDE).astype(np.float32) for g in range(groups)}
    values = {key: 128 + np.tensordot(latent, patterns, 1) for key, latent in drawn.items()}
    latents = {key: (SCALES * latent + 3).tolist() for key, latent in drawn.items()}
    return latents, {key: encode(value.clip(0, 255).astype(np.uint8)) for key, value in values.items()}


def toy_dataset(folder, seed, groups, is_shuffled=False):
    latents, images = toy(seed, groups)
    if is_shuffled:
        order = np.random.default_rng(1).permutation(groups)
        latents = {(g, 0): latents[int(order[g]), 0] for g in range(groups)}
    stream = f"{seed:02x}" * 32
    return make_dataset(
        folder,
        groups=groups,
        views=1,
        size_px=16,
        stream_id=stream,
        images=images,
        latents=latents,
        groups_per_shard=64,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Inverters of right and of shuffled latents, and the groups held out."""
    folder = tmp_path_factory.mktemp("inversion")
    held_out, found = toy_dataset(folder / "held-out", 2, HELD_OUT), {}
    for name in ("right", "shuffled"):
        url = toy_dataset(folder / name, 1, GROUPS, name == "shuffled")
        words = pretrain_words(
            url,
            folder / f"run-{name}",
            "invert",
            images=32 * 260,
            batch_images=32,
            data__views=None,
            encoder__backbone="vit_tiny_patch16_224",
            encoder__arguments=VIT,
            encoder__size_px=16,
            objective__hidden=None,
            objective__dimensions=None,
            objective__conditional=name == "right",
            optimizer__base_learning_rate=0.03,
            log_images=4096,
        )
        code, said = run(words)
        assert code == 0, said
        found[name] = (folder / f"run-{name}", url)
    return found, held_out


def test_an_inverter_reads_a_linear_generator_and_shuffled_latents_tell_it_nothing(runs):
    found, held_out = runs
    right = inversion(found["right"][0], held_out)
    assert (right.target, right.images, right.groups, len(right.names)) == ("latent", HELD_OUT, HELD_OUT, WIDE)
    assert min(right.head) > 0.9
    shuffled = inversion(found["shuffled"][0], held_out)
    assert max(shuffled.head) < 0.15
    assert right.accuracy is not None
    assert shuffled.accuracy is None


def test_the_command_prints_every_dimension_and_json(runs, tmp_path):
    found, held_out = runs
    code, said = run(["inversion", str(found["right"][0]), held_out, "--out", str(tmp_path / "r2.json")])
    assert code == 0, said
    assert "R² of latent in 60 images of 60 groups" in said
    assert "latent[2]" in said
    told = json.loads((tmp_path / "r2.json").read_text())
    assert len(told["head"]) == len(told["ridge"]) == WIDE


def test_the_head_is_not_measured_on_what_it_learned_from(runs):
    found, _ = runs
    with pytest.raises(ConflictError, match=r"is what the head learned from; give held-out groups, .* select"):
        inversion(*found["right"])


def test_other_columns_are_refused_in_one_line(runs, tmp_path):
    found, held_out = runs
    with pytest.raises(UserError, match="no row has alphas"):
        inversion(found["right"][0], held_out, "alphas")
    code, said = run(["inversion", str(found["right"][0]), held_out, "--target", "pixels"])
    assert (code, said.strip()) == (
        2,
        "error: --target is 'pixels'; expected latent, edit_vector, alphas or a column x_…",
    )


def test_r_squared_is_scikit_learns():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    truth, noise = rng.normal(3, 2, (40, 5)), rng.normal(0, 1, (40, 5))
    expected = r2_score(truth, truth + noise, multioutput="raw_values")
    assert r_squared(torch.from_numpy(truth + noise), torch.from_numpy(truth)) == pytest.approx(expected.tolist())
    assert r_squared(torch.ones(4, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)) == [0.0]


def test_ridge_predicts_a_group_from_other_groups_only():
    """Features that are a group's name let a regression remember, and nothing else: across groups it must fail."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 4)
    keys = np.array([f"group {g}" for g in group])
    targets = torch.from_numpy(rng.normal(size=(30, 2))[group])
    names = torch.eye(30, dtype=torch.float64)[torch.from_numpy(group)]
    assert max(r_squared(cross_predicted(names, targets, keys), targets)) < 0.05
    linear = torch.cat([targets @ torch.randn(2, 5, dtype=torch.float64), torch.randn(120, 3).double()], dim=1)
    assert min(r_squared(cross_predicted(linear, targets, keys), targets)) > 0.99
