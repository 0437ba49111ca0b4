"""What the rows say of how images were made, in the order in which the stream numbers images."""

import pyarrow as pa
import pytest

from manifests.commit import Group, View, commit_shard
from manifests.dataset import open_dataset
from manifests.errors import UserError
from manifests.store import Store
from manifests.version import VersionDoc, VersionShard, publish
from tests.trainer.data import encode, make_dataset, pixels, stripe_latents
from trainer.stream import Stream
from trainer.targets import read_targets


def rows_dataset(folder, rows, **types):
    """A data set of one shard: rows[group][view] are columns, `types` those of the maker's own."""
    store = Store.open(folder, create=True)
    (folder.parent / "scratch").mkdir(exist_ok=True)
    groups = []
    for group, columns in enumerate(rows):
        views = [
            View(
                row={"width": 8, "height": 8, "codec": "png", **one}, data=encode(pixels(group, v, 8)), extension="png"
            )
            for v, one in enumerate(columns)
        ]
        groups.append(Group(group=group, views=views, prompt=None, label=None))
    record = commit_shard(
        store,
        stream_id="cd" * 32,
        index=0,
        first_group=0,
        groups=groups,
        numerics={"encoder": "png"},
        extra_types=types,
        scratch=folder.parent / "scratch",
    )
    shards = [VersionShard.of(record)]
    publish(store, VersionDoc(kind="adopted", shards=shards, views_per_group=len(rows[0]), extension="png"))
    return open_dataset(str(folder))


def test_a_batch_brings_each_images_own_latent_also_from_two_data_sets(tmp_path):
    first = make_dataset(tmp_path / "a", groups=12, views=3, latents=stripe_latents(12, 3))
    second = make_dataset(
        tmp_path / "b", groups=9, views=3, stream_id="ef" * 32, latents=stripe_latents(9, 3), groups_per_shard=4
    )
    datasets = [open_dataset(first), open_dataset(second)]
    targets = read_targets(datasets, "latent")
    assert targets.values.shape == (12 * 3 + 9 * 3, 4)
    assert targets.names == ["latent[0]", "latent[1]", "latent[2]", "latent[3]"]
    assert targets.classes == 3
    stream = Stream(datasets, batch_groups=6, views=2, seed=3, targets=targets)
    for start in range(0, 24, 6):
        batch = stream.batch(start)
        for group in range(6):
            for view in range(2):
                directions = batch.targets[group, view].int().tolist()
                number = next(
                    g for g in range(12) if (batch.images[group, view].numpy() == pixels(g, directions[3])).all()
                )
                assert directions[:3] == [number % 5, number // 5 % 5, number % 3]
                assert int(batch.class_ids[group, view]) == number % 3
    assert Stream(datasets, batch_groups=6, views=2, seed=3).batch(0).targets is None


def test_steps_along_walks_are_columns_by_name_and_zero_where_none_was_taken(tmp_path):
    dataset = rows_dataset(
        tmp_path / "set",
        [
            [{}, {"walks": ["zoom"], "alphas": [0.5]}],
            [{"class_id": 2}, {"walks": ["shiftx", "zoom"], "alphas": [-1.0, 2.0]}],
        ],
    )
    targets = read_targets([dataset], "alphas")
    assert targets.names == ["shiftx", "zoom"]
    assert targets.values.tolist() == [[0, 0], [0, 0.5], [0, 0], [-1, 2]]
    assert targets.class_ids.tolist() == [-1, -1, 2, -1]


def test_a_view_without_an_edit_has_a_step_of_zero(tmp_path):
    dataset = rows_dataset(tmp_path / "set", [[{}, {"edit": "add", "edit_vector": [1.0, -2.0]}]])
    assert read_targets([dataset], "edit_vector").values.tolist() == [[0, 0], [1, -2]]


def test_a_column_of_the_makers_own_may_be_guessed_such_as_w(tmp_path):
    rows = [[{"x_w": [0.5, -1.0], "x_age": 3}], [{"x_w": [2.0, 4.0], "x_age": 7}]]
    types = {"x_w": pa.list_(pa.float32()), "x_age": pa.int64()}
    dataset = rows_dataset(tmp_path / "set", rows, **types)
    assert read_targets([dataset], "x_w").values.tolist() == [[0.5, -1], [2, 4]]
    assert read_targets([dataset], "x_age").values.tolist() == [[3], [7]]
    words = rows_dataset(tmp_path / "words", [[{"x_name": "a"}]], x_name=pa.string())
    with pytest.raises(UserError, match="x_name is of type string; expected numbers, or lists of them"):
        read_targets([words], "x_name")


def test_rows_without_what_is_wanted_are_refused_with_the_remedy(tmp_path):
    bare = open_dataset(make_dataset(tmp_path / "bare", groups=8))
    with pytest.raises(UserError, match=r"no row has latent: a diffusion's noise comes from the seed"):
        read_targets([bare], "latent")
    with pytest.raises(UserError, match=r"no row has alphas: no view went along a walk; .* strategy steer"):
        read_targets([bare], "alphas")
    uneven = rows_dataset(tmp_path / "uneven", [[{"latent": [1.0]}], [{"latent": [1.0, 2.0]}]])
    with pytest.raises(UserError, match=r"latent has 1 in cdcdcdcd-000000000, 2 in cdcdcdcd-000000001 numbers"):
        read_targets([uneven], "latent")
    holes = rows_dataset(tmp_path / "holes", [[{"latent": [1.0]}], [{}]])
    with pytest.raises(UserError, match=r"cdcdcdcd-000000001 has no latent, other rows have"):
        read_targets([holes], "latent")


def test_moments_are_those_of_all_images_and_what_never_changes_is_left_as_it_is(tmp_path):
    data = rows_dataset(tmp_path / "set", [[{"latent": [float(group), 5.0]}] for group in (1, 2, 6)])
    mean, std = read_targets([data], "latent").moments()
    assert mean == [3.0, 5.0]
    assert std == pytest.approx([(14 / 3) ** 0.5, 1.0])
