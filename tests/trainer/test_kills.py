"""SIGKILL again and again: the weights are bit for bit those of a run that was never killed, from the same groups.

A mixture by weight, two decoding threads, an image that is none, an average of the weights, and epochs of both data
sets that end inside batches. Of several processes one dies, or all; those that are left must end by themselves.
"""

import random

import pytest

from learning.checkpoint import load_newest
from manifests.dataset import open_dataset
from tests.trainer.data import make_dataset
from tests.trainer.killing import IN_A_SAVE, IN_A_STEP, Watched, assert_same_state, wait_until
from tests.trainer.processes import pretrain_words
from trainer.order import Order

BATCH_IMAGES = 16
FEW, MANY = 3, 20
STEPS = {FEW: 24, MANY: 72}  # a life that is killed leaves one or two behind it
SHARDS, WEIGHTS = [[7, 7, 7, 3], [4, 4, 2]], [1, 2]
UNREADABLE = (0, 3)  # data set and group


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    first = make_dataset(folder / "one", groups=24, views=3, images={(UNREADABLE[1], 0): b"no image"})
    return [first, make_dataset(folder / "other", groups=10, views=2, stream_id="cd" * 32, groups_per_shard=4)]


def watched_run(urls, out, images):
    options = {
        "images": images,
        "checkpoint_images": 2 * BATCH_IMAGES,
        "keep_checkpoints": 2,
        "keep_every_images": 6 * BATCH_IMAGES,
        "data__weights": WEIGHTS,
        "data__workers": 2,
        "ema_half_life_images": 64,
    }
    words = pretrain_words(urls[0], out, "stablerep", **options)
    return Watched([*words, "--data", urls[1]], out, out.with_name(f"{out.name}-notes"))


def assert_every_group_once_an_epoch(sequence, urls):
    """But for the unreadable one, in whose slots another group stands in."""
    assert sorted(sequence) == list(range(len(sequence)))  # no slot was left out
    slots = Order(SHARDS, seed=0, weights=WEIGHTS).slots(0, len(sequence))
    for dataset, url in enumerate(urls):
        ids = open_dataset(url).groups().positive_id.tolist()
        places = [(place, group) for place, (d, _, group) in enumerate(zip(*slots, strict=True)) if d == dataset]
        read = [ids[group] if (dataset, group) == UNREADABLE else sequence[place] for place, group in places]
        epochs = [read[first : first + len(ids)] for first in range(0, len(read) - len(ids) + 1, len(ids))]
        assert len(epochs) >= 2
        assert all(sorted(epoch) == sorted(ids) for epoch in epochs)


def assert_kept(out, images):
    """The last two of a checkpoint every two steps, and every third of all."""
    step = 2 * BATCH_IMAGES
    wanted = {*range(3 * step, images + 1, 3 * step), images - step, images}
    found = {int(path.name.removeprefix("ckpt-")) for path in (out / "checkpoints").iterdir()}
    assert found == wanted


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_kills_at_random_instants_change_nothing(tmp_path, urls, kills, world):
    images, luck = STEPS[kills] * BATCH_IMAGES, random.Random(world)
    whole, killed = (watched_run(urls, tmp_path / name, images) for name in ("whole", "killed"))
    whole.finish(world)
    while len(killed.kills) < kills or set(killed.kills) != {IN_A_SAVE, IN_A_STEP}:
        assert killed.live_and_die(luck, world), f"the run ended before it was killed often enough: {killed.kills}"
    killed.finish(world)
    print(f"{len(killed.kills)} proven kills: {killed.kills}")
    assert_same_state(whole.out, killed.out, images)
    assert_kept(whole.out, images)
    assert_kept(killed.out, images)
    assert whole.sequence().items() <= killed.sequence().items()
    assert_every_group_once_an_epoch(whole.sequence(), urls)


@pytest.mark.timeout(600)
def test_a_run_goes_on_in_two_processes_and_in_one_again_with_every_group_once_an_epoch(tmp_path, urls):
    images, luck = 24 * BATCH_IMAGES, random.Random(0)
    whole, changing = (watched_run(urls, tmp_path / name, images) for name in ("whole", "changing"))
    whole.finish()
    assert changing.live_and_die(luck, 1)
    assert changing.live_and_die(luck, 2)
    changing.finish(1)
    assert changing.sequence().items() >= whole.sequence().items()
    assert_every_group_once_an_epoch(whole.sequence(), urls)


@pytest.mark.timeout(600)
def test_a_signal_to_one_of_two_processes_brings_both_to_a_checkpoint(tmp_path, urls):
    told = watched_run(urls, tmp_path / "told", 4000 * BATCH_IMAGES)
    told.words += ["--set", f"checkpoint_images={4000 * BATCH_IMAGES}"]
    commands = told.start(2)
    assert wait_until(lambda: told.steps(1) >= 2, commands)
    commands[1].process.terminate()
    assert [command.wait()[0] for command in commands] == [75, 75]
    images_seen, _ = load_newest(told.out / "checkpoints")
    assert images_seen == BATCH_IMAGES * told.steps() == BATCH_IMAGES * told.steps(1)
