"""Kinds of views from a few words: what comes of an image, and what is said of words that mean nothing."""

import pytest
import torch

from learning.augment import patch_pairs
from learning.flow import PixelFlow
from manifests.errors import UserError
from trainer.flow_file import LearnedColours, write_flow
from trainer.information.pairs import view_pair

KINDS = {
    "views": (3, 3),
    "views:augmentation=weak": (3, 3),
    "image": (3, 3),
    "image:augmentation=simclr,crop=0.4,jitter=0.5": (3, 3),
    "patch:8": (3, 3),
    "split:rgb": (1, 2),
    "split:hsv": (1, 2),
    "frequency:1.5": (3, 3),
}


def images(count=5, stored=2, side=24):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, stored, 3, side, side), dtype=torch.uint8, generator=draw)


def made(text, of=None, seed=3, size_px=16):
    pair = view_pair(text)
    of = images() if of is None else of
    seeds = torch.arange(2 * len(of)).view(-1, 2) + 1000 * seed
    return pair, pair.make(of[:, : pair.stored], seeds, size_px)


@pytest.mark.parametrize("text", KINDS)
def test_both_views_are_images_that_networks_take(text):
    pair, views = made(text)
    assert pair.channels == tuple(view.shape[1] for view in views) == KINDS[text]
    assert all(view.shape == (5, channels, 16, 16) for view, channels in zip(views, pair.channels, strict=True))
    assert all(view.min() > -0.6 and view.max() < 1.6 for view in views)
    assert pair.is_alike == (text.partition(":")[0] not in ("split", "frequency"))


@pytest.mark.parametrize("text", KINDS)
def test_a_seed_gives_one_pair_and_only_what_is_drawn_differs_with_it(text):
    pair, views = made(text)
    again, other = made(text)[1], made(text, seed=4)[1]
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))
    assert pair.is_drawn != all(torch.equal(a, b) for a, b in zip(views, other, strict=True))


def test_an_images_copies_are_of_it_and_a_groups_views_of_its_two_images():
    of = images(stored=2, side=16)
    _, (first, second) = made("views", of)
    assert torch.allclose(first, of[:, 0] / 255, atol=1e-6)
    assert torch.allclose(second, of[:, 1] / 255, atol=1e-6)


def test_patches_lie_apart_as_far_as_asked_for_along_one_axis():
    rows = torch.arange(24.0)
    grid = torch.stack([rows[:, None].expand(24, 24), rows[None].expand(24, 24), torch.zeros(24, 24)])
    first, second = patch_pairs(grid.expand(200, 3, 24, 24), torch.arange(200), 6, 10)
    steps = {tuple(step) for step in (second - first)[:, :2, 0, 0].int().tolist()}
    assert steps == {(10, 0), (0, 10)}
    assert torch.equal((second - first)[:, :2].flatten(2).std(dim=2), torch.zeros(200, 2))
    assert len({tuple(corner) for corner in first[:, :2, 0, 0].int().tolist()}) > 50
    with pytest.raises(ValueError, match="patches of 20 px, 10 px apart, do not fit into 24 px"):
        patch_pairs(grid[None], torch.arange(1), 20, 10)


def test_learned_colours_are_read_from_their_folder(tmp_path):
    write_flow(tmp_path, LearnedColours("yiq", PixelFlow()), {})
    _, (one, two) = made(f"flow:{tmp_path}")
    _, (light, colour) = made("split:yiq")
    assert torch.allclose(one, light, atol=1e-6)  # a flow begins as the identity
    assert torch.allclose(two, colour, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("veiws", "there are no views 'veiws'; did you mean views?"),
        ("split:lap", "there is no colour space 'lap'; did you mean lab?"),
        ("patch", "expected a distance in pixels, for example patch:16"),
        ("patch:far", "expected a distance in pixels"),
        ("image:crop=2", "crop is 2; expected a share of the image above 0, at most 1"),
        ("image:jitter=x", "'x' is no number"),
        ("image:corp=0.2", "'corp' is unknown; did you mean crop?"),
        ("image:augmentation=weka", "there is no augmentation 'weka'; did you mean weak?"),
        ("frequency", "'?' is no number"),
        ("frequency:0", "expected a blur in pixels above 0"),
        ("flow", "expected the folder of a run that learned views"),
        ("flow:absent", "absent holds no learned views"),
    ],
)
def test_what_means_nothing_is_one_line(text, words):
    with pytest.raises(UserError) as raised:
        view_pair(text)
    assert words in str(raised.value)
