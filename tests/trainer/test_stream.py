import itertools
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from manifests.dataset import open_dataset
from manifests.errors import UserError
from tests.trainer.data import encode, make_dataset, pixels
from trainer.order import choose_views
from trainer.stream import Batch, Stream


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=3)


def stream_of(url, **options):
    options = {"batch_groups": 10, "views": 2, "seed": 5, **options}
    return Stream([open_dataset(url)], **options)


def take(stream, count):
    return list(itertools.islice(stream, count))


def held(batch):
    """What every batch holds: the rest is for captions and latents."""
    assert (batch.tokens, batch.targets, batch.class_ids) == (None, None, None)
    return batch[:5]


def equal(one, two):
    return all((a == b).all() for a, b in zip(held(one), held(two), strict=True))


def test_a_batch_holds_the_pixels_ids_and_labels_of_its_groups(url):
    index = open_dataset(url).groups()
    stream = stream_of(url)
    batch = take(stream, 1)[0]
    assert tuple(batch.images.shape) == (10, 2, 32, 32, 3)
    for row, position in enumerate(batch.positions.tolist()):
        group = stream.order.slot(position)[2]
        views = choose_views(5, np.array([position]), 3, 2)[0]
        for image, view in zip(batch.images[row], views, strict=True):
            assert (image.numpy() == pixels(group, int(view))).all()
        assert batch.ids[row] == index.positive_id[group]
        assert batch.labels[row] == group % 4


def test_resuming_anywhere_gives_the_same_batches_whatever_the_workers(url):
    whole = take(stream_of(url), 6)
    tail = take(stream_of(url, start_groups=30, workers=5), 3)
    assert all(equal(a, b) for a, b in zip(whole[3:], tail, strict=True))


def test_two_ranks_read_the_two_halves_of_each_global_batch(url):
    for whole, first, second in zip(
        take(stream_of(url), 4),
        take(stream_of(url, rank=0, world=2), 4),
        take(stream_of(url, rank=1, world=2), 4),
        strict=True,
    ):
        halves = [np.concatenate([a, b]) for a, b in zip(held(first), held(second), strict=True)]
        assert equal(whole, Batch(*halves, tokens=None))


def test_an_epoch_holds_every_group_once_over_straddling_batches(url):
    seen = np.concatenate([batch.ids for batch in take(stream_of(url, batch_groups=10, views=1), 12)])
    for first in range(0, 120 - 23, 24):
        assert len(set(seen[first : first + 24])) == 24


def test_images_of_another_size_are_brought_to_the_first_ones(tmp_path):
    odd = {(3, 0): encode(np.full((50, 70, 3), 200, np.uint8))}
    url = make_dataset(tmp_path / "set", groups=6, views=1, images=odd)
    batch = take(stream_of(url, batch_groups=6, views=1), 1)[0]
    assert tuple(batch.images.shape[2:]) == (32, 32, 3)
    assert (batch.images == 200).flatten(1).all(dim=1).sum() == 1
    assert tuple(take(stream_of(url, batch_groups=6, views=1, size_px=16), 1)[0].images.shape[2:]) == (16, 16, 3)


def test_an_unreadable_member_is_replaced_alike_on_every_run_and_named(tmp_path, caplog):
    url = make_dataset(tmp_path / "set", groups=24, views=2, images={(5, 1): b"no image"})
    first, second = stream_of(url), stream_of(url, start_groups=20, workers=1)
    batches = take(first, 6)
    assert all(equal(a, b) for a, b in zip(batches[2:], take(second, 4), strict=True))
    bad = open_dataset(url).groups().positive_id[5]
    assert bad not in np.concatenate([batch.ids for batch in batches])
    ((key, reason),) = first.unreadable.items()
    assert key.endswith("-000000005")
    assert "shards/shard-000000" in reason
    said = [record.getMessage() for record in caplog.records]  # once by each stream, however often it comes
    assert said == [f"group {key} is unreadable, another one stands in: {reason}"] * 2


def test_a_group_with_one_bad_view_does_not_depend_on_what_failed_before(tmp_path):
    url = make_dataset(tmp_path / "set", groups=24, views=3, images={(5, 1): b"no image"})
    whole = take(stream_of(url, views=1), 12)
    assert open_dataset(url).groups().positive_id[5] in np.concatenate([batch.ids for batch in whole])
    for start in range(12):
        assert equal(take(stream_of(url, views=1, start_groups=10 * start), 1)[0], whole[start])


def test_more_unreadable_groups_than_the_budget_are_an_error(tmp_path):
    bad = {(group, 0): b"no image" for group in (1, 9, 17)}
    url = make_dataset(tmp_path / "set", groups=24, views=1, images=bad)
    assert len(take(stream_of(url, views=1, corrupt_budget=3), 3)) == 3
    with pytest.raises(UserError, match="3 groups are unreadable, corrupt_budget is 2"):
        take(stream_of(url, views=1, corrupt_budget=2), 3)


def test_a_cut_shard_is_an_error_naming_it(tmp_path, url):
    copy = Path(shutil.copytree(url, tmp_path / "copy"))
    shard = sorted((copy / "shards").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-5000])
    with pytest.raises(UserError, match=f"{shard.name} is cut"):
        take(stream_of(str(copy), corrupt_budget=1), 3)


def test_a_consumer_that_waits_keeps_no_more_than_some_batches_in_memory(url, monkeypatch):
    read = []
    monkeypatch.setattr("trainer.stream.decode_into", lambda pixels, data: read.append(len(data)))
    stream = stream_of(url, workers=3)
    batches = iter(stream)
    next(batches)
    time.sleep(0.3)
    assert len(read) <= (stream.batches_ahead + 1) * 20
    assert stream_of(url, batch_groups=24, workers=1).batches_ahead == 7
    assert Stream([open_dataset(url)] * 40, batch_groups=960, views=1, seed=0, workers=2).batches_ahead == 2
    batches.close()


def test_memory_does_not_grow_while_batches_pass_and_those_that_are_held_stay_as_they_are(url):
    stream = stream_of(url)
    batches = iter(stream)
    held = next(batches).images[2:4].permute(0, 1, 4, 2, 3)
    before = held.clone()
    places = {next(batches).images.data_ptr() for _ in range(60)}
    assert len(places) <= stream.batches_ahead + 3
    assert (held == before).all()
    assert held.data_ptr() not in places
    batches.close()


def test_what_goes_wrong_in_a_worker_is_one_error_and_ends_its_threads(url, monkeypatch):
    def broken(pixels, data):
        raise MemoryError("no memory for an image")

    stream = stream_of(url, workers=3)
    monkeypatch.setattr("trainer.stream.decode_into", broken)
    with pytest.raises(MemoryError, match="no memory for an image"):
        take(stream, 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_parts_of_a_batch_that_workers_fill_make_the_batch_that_one_makes(url, monkeypatch):
    whole = take(stream_of(url, workers=1), 5)
    monkeypatch.setattr("trainer.stream._PART_GROUPS", 3)
    assert all(equal(a, b) for a, b in zip(whole, take(stream_of(url, workers=4), 5), strict=True))


def test_mixtures_keep_their_weights(tmp_path, url):
    other = make_dataset(tmp_path / "other", groups=12, views=2, stream_id="cd" * 32)
    datasets = [open_dataset(url), open_dataset(other)]
    stream = Stream(datasets, batch_groups=12, views=2, seed=0, weights=(1.0, 2.0))
    ids = np.concatenate([batch.ids for batch in take(stream, 10)])
    assert abs(np.isin(ids, datasets[1].groups().positive_id).sum() - 80) <= 1


def test_a_mixture_replaces_what_is_unreadable_alike_however_it_is_read(tmp_path, url):
    bad = {(group, view): b"no image" for group in (2, 7) for view in range(2)}
    other = make_dataset(tmp_path / "other", groups=12, views=2, stream_id="cd" * 32, images=bad)

    def stream(**options):
        return Stream([open_dataset(url), open_dataset(other)], batch_groups=12, views=2, seed=0, **options)

    whole = take(stream(workers=1), 8)
    gone = open_dataset(other).groups().positive_id[[2, 7]]
    assert not np.isin(np.concatenate([batch.ids for batch in whole]), gone).any()
    assert all(equal(a, b) for a, b in zip(whole[3:], take(stream(workers=3, start_groups=36), 5), strict=True))
    halves = [take(stream(rank=rank, world=2), 8) for rank in range(2)]
    for batch, *parts in zip(whole, *halves, strict=True):
        assert (torch.cat([part.images for part in parts]) == batch.images).all()
        assert (torch.cat([part.rows for part in parts]) == batch.rows).all()


def mixture_of(folder, names):
    urls = [
        make_dataset(folder / str(number), groups=6, views=1, stream_id=f"{number:02x}" * 32, label_names=own)
        for number, own in enumerate(names)
    ]
    return Stream([open_dataset(one) for one in urls], batch_groups=6, views=1, seed=0)


KINDS = ("cat", "dog", "owl", "fox")


def test_labels_of_the_same_names_may_be_mixed(tmp_path):
    mixture_of(tmp_path, [KINDS, KINDS]).check_labels()
    mixture_of(tmp_path / "unnamed", [(), ()]).check_labels()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("cat", "owl", "dog", "fox"), "label 1 is 'dog' in .*/1 and 'owl' in .*/2: labels are matched by number"),
        ((*KINDS, "bat"), "label 4 is without a name in .*/1 and 'bat' in .*/2"),
        ((), "label 0 is 'cat' in .*/1 and without a name in .*/2: .* mix data sets with the same label_names"),
    ],
)
def test_labels_that_number_different_things_are_refused(tmp_path, other, words):
    with pytest.raises(UserError, match=words):
        mixture_of(tmp_path, [KINDS, KINDS, other]).check_labels()


def test_waiting_is_measured(url):
    stream = stream_of(url)
    take(stream, 2)
    assert stream.wait_s > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 4}, "4 views a group are wanted, .* has 3; set data.views to 3 or less"),
        ({"batch_groups": 25}, "larger than the data"),
        ({"batch_groups": 9, "world": 2}, "cannot be cut into 2 equal parts"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(url, options, words):
    with pytest.raises(UserError, match=words):
        stream_of(url, **options)
