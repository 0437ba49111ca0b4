"""Parts and unions: merged, resharded, split, compared and taken down, and verify says what each of them broke."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from manifests import open_dataset, select, verify
from manifests.difference import diff
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.flat import write_flat
from manifests.licences import asks, conflicts, joined
from manifests.merge import merge
from manifests.repair import repair
from manifests.reshard import reshard
from manifests.split import split
from manifests.store import Store
from manifests.takedown import check_not_taken_down, takedown, taken_down_since
from tests.manifests.making import commit, encode, finish, make_dataset, make_group, pixels

OTHER = "cd" * 32


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    make_dataset(tmp_path / "source", tmp_path, shards=3, broken={(2, 0)})
    return open_dataset(tmp_path / "source")


def other_groups(numbers, shift: int = 100):
    """Groups of another stream, with pictures of their own."""
    made = []
    for number in numbers:
        group = make_group(number)
        views = [replace(view, data=encode(pixels(number + shift, place))) for place, view in enumerate(group.views)]
        for place, view in enumerate(views):
            view.row["pixel_hash"] = None
            view.row["width"] = 8
            assert place in (0, 1)
        made.append(replace(group, views=views))
    return made


@pytest.fixture
def other(tmp_path):
    store = Store.open(tmp_path / "other", create=True)
    record = commit(store, 0, tmp_path, other_groups(range(6)), stream_id=OTHER)
    finish(store, [record], licence="MIT", name="others")
    return open_dataset(tmp_path / "other")


def keys(dataset) -> list[str]:
    return dataset.groups().key.tolist()


def test_a_union_shows_the_groups_of_all_and_copies_no_shard(source, other, tmp_path):
    union = merge([source, other], tmp_path / "union", accept_licences=True, weights=[1, 3])
    assert keys(union) == keys(source) + keys(other)
    assert open_dataset(tmp_path / "union").root == union.root
    assert not list((tmp_path / "union").rglob("*.tar"))
    for row in union.rows(ok_only=True).to_pylist():
        shift = 100 if row["stream_id"] == OTHER else 0
        np.testing.assert_array_equal(union.image(row), pixels(row["group"] + shift, row["view"]))
    assert [(keys(part), weight) for part, weight in union.parts()] == [(keys(source), 1.0), (keys(other), 3.0)]
    assert (union.version.licence, union.version.generation) == ("MIT", 1)
    assert verify(tmp_path / "union", deep=True).problems == []
    assert merge([source, other], tmp_path / "union", accept_licences=True, weights=[1, 3]).root == union.root


def test_a_group_that_is_there_twice_is_refused_or_left_out(source, tmp_path):
    one = select(source, "label <> 2", tmp_path / "one")
    two = select(source, "label <> 1", tmp_path / "two")
    with pytest.raises(ConflictError, match=r"6 groups are there twice, such as 5a5a5a5a-000000000.*--drop-duplicates"):
        merge([one, two], tmp_path / "union")
    union = merge([one, two], tmp_path / "union", drop_duplicates=True)
    assert sorted(keys(union)) == sorted(keys(source))
    assert len(keys(union)) == len(set(keys(union)))
    assert verify(tmp_path / "union", deep=True).problems == []


def test_equal_images_under_other_keys_are_twice_too(source, tmp_path):
    store = Store.open(tmp_path / "copied", create=True)
    finish(store, [commit(store, 0, tmp_path, stream_id=OTHER)])
    with pytest.raises(ConflictError, match="5 groups are there twice, such as cdcdcdcd-"):
        merge([source, open_dataset(tmp_path / "copied")], tmp_path / "union")


def test_parts_of_one_stream_that_share_an_index_are_told_apart(source, tmp_path):
    for name, where in (("one", "label = 1"), ("two", "label = 2")):
        reshard(select(source, where, tmp_path / f"{name}-view"), tmp_path / name)
    union = merge([open_dataset(tmp_path / "one"), open_dataset(tmp_path / "two")], tmp_path / "union")
    for row in union.rows(ok_only=True).to_pylist():
        np.testing.assert_array_equal(union.image(row), pixels(row["group"], row["view"]))
    root = reshard(union, tmp_path / "whole")
    whole = open_dataset(tmp_path / "whole")
    assert (whole.root, sorted(keys(whole))) == (root, sorted(keys(union)))
    assert verify(tmp_path / "whole", deep=True).problems == []


@pytest.mark.parametrize(
    ("licences", "conflict", "together"),
    [
        (["MIT", "MIT"], None, "MIT"),
        (["CC-BY-4.0", "Apache-2.0"], None, "Apache-2.0 AND CC-BY-4.0"),
        (["CC-BY-SA-4.0", "MIT"], None, "CC-BY-SA-4.0 AND MIT"),
        (["CC-BY-NC-4.0", "MIT"], "CC-BY-NC-4.0 restricts what MIT would allow", "CC-BY-NC-4.0 AND MIT"),
        (["CC-BY-SA-4.0", "GPL-3.0"], "each ask for themselves alone", "CC-BY-SA-4.0 AND GPL-3.0"),
        (["creativeml-openrail-m", "CC0-1.0"], "creativeml-openrail-m restricts", "CC0-1.0 AND creativeml-openrail-m"),
        ([None, "MIT"], "without a known licence", "MIT"),
        (["Own-1.0", "MIT"], "Own-1.0 is not known", "MIT AND Own-1.0"),
        ([None, None], None, None),
    ],
)
def test_licences_go_together_or_do_not(licences, conflict, together):
    assert joined(licences) == together
    found = conflicts(licences)
    assert (found == []) if conflict is None else any(conflict in line for line in found)
    assert all(map(asks, licences))


def test_licences_that_do_not_go_together_are_refused_unless_accepted(source, other, tmp_path):
    with pytest.raises(ConflictError, match=r"licences do not go together: a data set without .* --accept-licences"):
        merge([source, other], tmp_path / "union")


def test_sets_of_other_shapes_labels_or_weights_are_refused(source, other, tmp_path):
    with pytest.raises(UserError, match="expected two or more"):
        merge([source], tmp_path / "union")
    with pytest.raises(UserError, match="expected 2 numbers above 0"):
        merge([source, other], tmp_path / "union", weights=[1, 0], accept_licences=True)
    with pytest.raises(ConflictError, match="the same version is given twice"):
        merge([source, source], tmp_path / "union")
    store = Store.open(tmp_path / "more", create=True)
    record = commit(store, 0, tmp_path, other_groups(range(6), 50), stream_id="ef" * 32)
    finish(store, [record], label_names=["b", "a", "c"])
    with pytest.raises(ConflictError, match="a number would mean two things"):
        merge([source, open_dataset(tmp_path / "more")], tmp_path / "union")


def test_resharding_cuts_anew_and_keeps_keys(source, tmp_path):
    reshard(source, tmp_path / "large", groups_per_shard=10)
    large = open_dataset(tmp_path / "large")
    assert keys(large) == keys(source)
    assert [shard.groups for shard in large.version.shards] == [10, 7]
    assert verify(tmp_path / "large", deep=True).problems == []
    reshard(large, tmp_path / "small", groups_per_shard=1)
    assert keys(open_dataset(tmp_path / "small")) == keys(source)
    assert diff(source, open_dataset(tmp_path / "small")).only_first == []


def test_columns_of_the_makers_own_and_of_another_release_stay(tmp_path):
    store = Store.open(tmp_path / "made", create=True)
    groups = [make_group(number, extra={"x_mood": f"mood {number}", "later": number}) for number in range(6)]
    types = {"x_mood": pa.string(), "later": pa.int64()}
    finish(store, [commit(store, 0, tmp_path, groups, extra_types=types, is_copy=True)])
    reshard(select(open_dataset(store.url), "x_mood <> 'mood 1'"), tmp_path / "out")
    rows = open_dataset(tmp_path / "out").rows(["x_mood", "later"])
    assert rows["later"].to_pylist() == [0, 0, 2, 2, 3, 3, 4, 4, 5, 5]
    assert rows["x_mood"].to_pylist()[2] == "mood 2"
    assert verify(tmp_path / "out", deep=True).problems == []


def test_what_was_taken_down_is_not_in_the_new_shards(source, tmp_path):
    key = keys(source)[1]
    takedown(source, keys=[key])
    newest = open_dataset(source.url)
    reshard(newest, tmp_path / "clean")
    held = b"".join(path.read_bytes() for path in (tmp_path / "clean" / "shards").iterdir())
    assert key.encode() not in held
    with pytest.raises(ConflictError, match="were taken down since"):
        reshard(source, tmp_path / "not")


def test_a_take_down_by_prompt_or_condition_takes_every_group_that_has_it(source):
    root, gone = takedown(source, prompts=["thing 3"], where='"group" = 0 AND view = 1')
    newest = open_dataset(source.url)
    assert newest.root == root
    assert [int(key[-2:]) for key in gone] == [0, 3, 8, 13]
    assert set(newest.rows(["group"])["group"].to_pylist()) == set(range(18)) - {0, 3, 8, 13}
    assert (newest.version.generation, newest.version.parent) == (1, source.root)
    assert verify(source.url, deep=True).problems == []
    assert taken_down_since(source) == gone
    with pytest.raises(ConflictError, match="has 4 groups that were taken down since"):
        check_not_taken_down(source)
    check_not_taken_down(newest)
    with pytest.raises(ConflictError, match="is not the newest"):
        takedown(source, keys=[gone[0]])
    for wrong in ({"keys": [gone[0]]}, {"prompts": ["no such"]}, {"where": "label = 77"}, {}):
        with pytest.raises(UserError, match=r"no group with|nothing to take down"):
            takedown(newest, **wrong)


def test_views_and_unions_are_told_of_a_take_down(source, other, tmp_path):
    view = select(source, "label = 0", tmp_path / "view")
    union = merge([source, other], tmp_path / "union", accept_licences=True)
    takedown(source, keys=[keys(source)[0]])
    for dataset in (view, union):
        assert any("has taken down 1 groups since" in line for line in verify(dataset.url).problems)
        with pytest.raises(ConflictError, match="select or merge again"):
            check_not_taken_down(open_dataset(dataset.url))
    again = merge([open_dataset(source.url), other], tmp_path / "union", accept_licences=True)
    assert keys(again) == keys(source)[1:] + keys(other)
    assert verify(tmp_path / "union").problems == []
    with pytest.raises(ConflictError, match="a view: take down in"):
        takedown(open_dataset(view.url), keys=[keys(source)[6]])


def test_an_append_keeps_what_was_taken_down(source):
    """The factory's next version is made of the newest one, tombstones included: see factory.job.finish."""
    import inspect

    from factory import job

    assert "tombstones=last.tombstones" in inspect.getsource(job.finish)


def test_a_split_is_whole_has_no_overlap_and_keeps_prompts_together(source, tmp_path):
    parts = split(source, tmp_path / "parts", {"train": 0.6, "test": 0.4}, seed=0)
    train, test = parts["train"], open_dataset(tmp_path / "parts" / "test")
    assert sorted(keys(train) + keys(test)) == sorted(keys(source))
    prompts = [set(part.rows(["prompt"])["prompt"].to_pylist()) for part in (train, test)]
    assert not prompts[0] & prompts[1]
    assert verify(test.url).problems == []
    for wrong in ({"a": 1.0}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}):
        with pytest.raises(UserError, match="add up to 1"):
            split(source, tmp_path / "no", wrong)


def test_a_difference_names_what_came_went_and_changed(source, tmp_path):
    same = diff(source, source)
    assert (same.is_none, same.shards_shared) == (True, 3)
    root, gone = takedown(source, keys=keys(source)[:2])
    found = diff(source, open_dataset(source.url))
    assert (found.only_first, found.only_second, found.changed, found.taken_down) == (gone, [], [], gone)
    assert found.roots == (source.root, root)
    store = Store.open(tmp_path / "twin", create=True)
    changed = [make_group(0), *other_groups(range(1, 6))]
    finish(store, [commit(store, 0, tmp_path, changed)])
    twin = diff(source, open_dataset(tmp_path / "twin"))
    assert [int(key[-2:]) for key in twin.changed] == [1, 3, 4, 5]
    assert [int(key[-2:]) for key in twin.only_second] == [2]
    assert len(twin.only_first) == 12
    assert json.loads(json.dumps(twin.to_dict()))["changed"]["groups"] == 4


def test_what_is_lost_or_damaged_comes_back_from_a_peer(source, tmp_path):
    peer = Path(shutil.copytree(source.url, tmp_path / "peer"))
    folder, before = Path(source.url), {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    shards = sorted(folder.glob("shards/*"))
    shards[0].unlink()
    shards[1].write_bytes(before[shards[1]][:100])
    sorted(folder.glob("views/*"))[2].write_bytes(b"x")
    sorted(folder.glob("commits/*"))[0].unlink()
    sorted(folder.glob("commits/*"))[0].write_bytes(b"{}")
    assert len(repair(folder, peer)) == 5
    assert verify(folder, deep=True).problems == []
    kept = [path for path in files if path.parent != folder]  # the descriptions are written anew
    assert {path: path.read_bytes() for path in kept} == {path: before[path] for path in kept}
    assert repair(folder, peer) == []
    bad = sorted(peer.glob("shards/*"))[0]
    bad.write_bytes(b"y" * bad.stat().st_size)
    shards[0].unlink()
    with pytest.raises(CorruptError, match=f"peer/shards/{bad.name} is damaged"):
        repair(folder, peer)
    assert not shards[0].exists()


def test_flat_has_one_image_a_sample_and_webdataset_reads_it(source, tmp_path):
    from webdataset import WebDataset

    assert write_flat(source, tmp_path / "flat") == 34
    tars = [str(tmp_path / "flat" / line) for line in (tmp_path / "flat" / "shards.txt").read_text().splitlines()]
    samples = list(WebDataset(tars, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 34
    for sample in samples:
        group, view = int(sample["json"]["key"][-9:]), sample["json"]["view"]
        assert sample["txt"] == f"thing {group % 5}"
        np.testing.assert_array_equal(sample["png"], pixels(group, view))
    assert write_flat(source, tmp_path / "flat") == 34
    with pytest.raises(ConflictError, match="holds something else"):
        write_flat(source, source.url)
