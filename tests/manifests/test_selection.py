"""Views: which groups an SQL condition chooses, that readers see these and no others, and what verify says of them."""

import json
from hashlib import sha256
from itertools import islice

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import open_dataset, select, verify
from manifests.cache import ShardCache
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.places import read_places, relative, resolved
from manifests.store import Store
from manifests.version import newest, publish
from tests.manifests.making import commit, finish, make_dataset, make_group, pixels

BROKEN = {(2, 0), (7, 1)}


@pytest.fixture
def source(tmp_path):
    make_dataset(tmp_path / "source", tmp_path, shards=3, broken=BROKEN)
    return tmp_path / "source"


def chosen(view) -> list[int]:
    return view.groups().group.tolist()


def test_a_view_shows_the_groups_that_match_and_copies_no_shard(source, tmp_path):
    view = select(open_dataset(source), "label = 1 AND prompt <> 'thing 4'", tmp_path / "view")
    expected = [g for g in range(18) if g % 3 == 1 and g % 5 != 4 and g not in (2, 7)]
    opened = open_dataset(tmp_path / "view")
    assert chosen(opened) == chosen(view) == expected
    assert opened.root == view.root != open_dataset(source).root
    assert not list((tmp_path / "view").rglob("*.tar"))
    assert opened.rows(["group"])["group"].to_pylist() == [g for g in expected for _ in range(2)]
    assert (opened.version.groups_ok, opened.version.views_ok) == (len(expected), 2 * len(expected))
    for row in opened.rows(ok_only=True).to_pylist():
        np.testing.assert_array_equal(opened.image(row), pixels(row["group"], row["view"]))
    report = verify(tmp_path / "view", deep=True)
    assert (report.problems, report.groups, report.views) == ([], len(expected), 2 * len(expected))


def test_shards_without_a_chosen_group_do_not_belong_to_the_view(source):
    view = select(open_dataset(source), '"group" IN (13, 14)')
    assert [shard.index for shard in view.version.shards] == [2]
    assert chosen(view) == [13, 14]


def test_a_group_is_in_if_all_its_views_match_and_null_is_no_match(source):
    data = open_dataset(source)
    with pytest.raises(UserError, match=r"no group has only views that match 'view = 1'"):
        select(data, "view = 1")
    assert chosen(select(data, 'view = 0 OR "group" = 4')) == [4]
    with pytest.raises(UserError, match="no group has only views"):
        select(data, "safety_score < 1")
    with pytest.raises(UserError, match="no group has only views"):
        select(data, "status = 'quarantined'")


values = st.integers(-2, 2)
numbers = st.sampled_from(["x_a", "x_b", "label", "view", '"group"']) | values.map(str)
comparisons = st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "=", ">=", "<>"]), numbers)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner) | inner.map("NOT ({})".format)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbered")
    store = Store.open(folder / "data", create=True)
    facts = [{"x_a": n % 5 - 2, "x_b": None if n % 7 == 0 else n % 3 - 1} for n in range(18)]
    types = {"x_a": pa.int64(), "x_b": pa.int32()}
    parts = [[make_group(n, extra=facts[n]) for n in range(6 * i, 6 * i + 6)] for i in range(3)]
    finish(store, [commit(store, i, folder, part, extra_types=types) for i, part in enumerate(parts)])
    return open_dataset(folder / "data")


@settings(max_examples=25, deadline=None)
@given(condition=conditions)
def test_the_groups_are_those_that_plain_duckdb_finds_in_all_rows(numbered, condition):
    rows = numbered.rows()
    query = f'SELECT "group" FROM rows GROUP BY ALL HAVING bool_and(coalesce({condition}, false)) ORDER BY ALL'
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        expected = [group for (group,) in connection.execute(query).fetchall()]
    if expected:
        view = select(numbered, condition)
        assert chosen(view) == expected
        assert view.rows(["group"])["group"].to_pylist() == [g for g in expected for _ in range(2)]
    else:
        with pytest.raises(UserError, match="no group has only views"):
            select(numbered, condition)


@settings(max_examples=8, deadline=None)
@given(one=conditions, other=conditions)
def test_a_view_of_a_view_is_the_view_by_both_conditions(numbered, one, other):
    try:
        both = select(numbered, f"({one}) AND ({other})")
    except UserError:
        with pytest.raises(UserError, match="no group has only views"):
            select(select(numbered, one), other)
        return
    assert select(select(numbered, one), other).version == both.version


def test_a_column_that_only_some_shards_have_is_null_in_the_others(tmp_path):
    store = Store.open(tmp_path / "data", create=True)
    groups = [make_group(n, extra={"x_mood": "calm" if n % 2 else "wild"}) for n in range(6)]
    finish(store, [commit(store, 0, tmp_path, groups, extra_types={"x_mood": pa.string()}), commit(store, 1, tmp_path)])
    data = open_dataset(tmp_path / "data")
    assert chosen(select(data, "x_mood = 'calm'")) == [1, 3, 5]
    assert chosen(select(data, "x_mood IS NULL")) == list(range(6, 12))
    assert chosen(select(data, "X_Mood = 'calm' OR \"GROUP\" = 7")) == [1, 3, 5, 7]


def test_groups_that_were_taken_down_are_never_selected(source, tmp_path):
    store = Store.open(source)
    version, keys = newest(store), open_dataset(source).groups().key.tolist()
    select(open_dataset(source), "label = 0", tmp_path / "view")
    publish(store, version.model_copy(update={"generation": 1, "parent": version.root(), "tombstones": [keys[0]]}))
    assert chosen(select(open_dataset(source), "label = 0")) == [3, 6, 9, 12, 15]
    [problem] = verify(tmp_path / "view").problems
    assert f"has taken down 1 groups since, such as {keys[0]}" in problem
    select(open_dataset(source), "label = 0", tmp_path / "view")
    assert chosen(open_dataset(tmp_path / "view")) == [3, 6, 9, 12, 15]
    assert verify(tmp_path / "view").problems == []


def test_the_same_selection_again_changes_nothing_and_another_one_is_refused(source, tmp_path):
    data, out = open_dataset(source), tmp_path / "view"
    root = select(data, "label = 1", out).root
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert select(data, "label = 1", out).root == root
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for where, target in (("label = 2", out), ("label = 1", source)):
        with pytest.raises(ConflictError, match=r"already holds another data set .*select into an empty folder"):
            select(data, where, target)
    make_dataset(tmp_path / "other", tmp_path, shards=2)
    with pytest.raises(ConflictError, match="or give the same query over a newer version of the same source"):
        select(open_dataset(tmp_path / "other"), "label = 1", out)


def test_a_view_and_its_source_may_move_together_and_a_lost_source_is_named(source, tmp_path):
    select(open_dataset(source), "label = 1", tmp_path / "view")
    assert read_places(Store.open(tmp_path / "view")) == ["../source"]
    (tmp_path / "elsewhere").mkdir()
    for name in ("source", "view"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    view = tmp_path / "elsewhere" / "view"
    assert verify(view).problems == []
    (tmp_path / "elsewhere" / "source").rename(tmp_path / "moved")
    with pytest.raises(CorruptError, match=r"is in none of its places \(.*source: there is no such folder\): run"):
        open_dataset(view).groups()
    lost, shards = verify(view).problems
    assert lost.startswith("the source is missing: ")
    assert shards.startswith("3 of 3 shards cannot be looked at (views/shard-000000-")  # one line, not one a shard
    assert "source: there is no such folder): run `python -m manifests select` again" in shards
    select(open_dataset(tmp_path / "moved"), "label = 1", view)
    assert verify(view).problems == []


@pytest.mark.parametrize("damage", ["tar", "rows", "bits", "places", "parent"])
def test_what_changed_in_a_source_or_a_view_is_named(source, tmp_path, damage):
    version = select(open_dataset(source), "label = 1", tmp_path / "view").version
    names = {
        "tar": source / version.shards[1].shard.name,
        "rows": source / version.shards[1].rows.name,
        "bits": tmp_path / "view" / version.selection.bits.name,
        "places": tmp_path / "view" / "places.json",
        "parent": source / "versions" / f"{version.parent}.json",
    }
    path = names[damage]
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    if damage == "places":
        with pytest.raises(CorruptError, match=r"places\.json is no list of places"):
            open_dataset(tmp_path / "view")
    else:
        problems = verify(tmp_path / "view").problems
        assert any(path.name in problem for problem in problems), problems


@pytest.mark.parametrize("change", ["count", "shard", "names", "padding", "quarantined"])
def test_a_view_that_says_what_its_source_does_not_is_named(source, tmp_path, change):
    view = select(open_dataset(source), "label = 1", tmp_path / "view")
    version, bits = view.version, bytearray((tmp_path / "view" / view.version.selection.bits.name).read_bytes())
    if change == "count":
        selection = version.selection.model_copy(update={"groups": 2})
        version, told = version.model_copy(update={"selection": selection}), r"selects 5 groups, expected 2"
    elif change == "names":
        version, told = version.model_copy(update={"label_names": ["x", "y", "z"]}), "expected {'label_names': ['a'"
    elif change == "shard":
        shard = version.shards[0].model_copy(update={"index": 9})
        version, told = version.model_copy(update={"shards": [shard, *version.shards[1:]]}), "has no such shard"
    else:
        bits[0] |= 0x80 if change == "padding" else 0x04
        told = "zeros after the last group" if change == "padding" else "have no image or were taken down"
        name = f"selections/{change}.bits"
        (tmp_path / "view" / name).write_bytes(bits)
        file = version.selection.bits.model_copy(update={"name": name, "sha256": sha256(bits).hexdigest()})
        groups = version.selection.groups + (change == "quarantined")
        selection = version.selection.model_copy(update={"bits": file, "groups": groups})
        version = version.model_copy(update={"selection": selection})
    root = publish(Store.open(tmp_path / "view"), version)
    problems = verify(tmp_path / "view", root=root).problems
    assert any(told in problem for problem in problems), problems


HOSTILE = [
    ("", "expected a condition"),
    ("true) --", "syntax error"),
    ("1 = 1; DROP TABLE rows", "syntax error"),
    ("true) UNION SELECT 1 FROM (SELECT 1", "expected one condition"),
    ("true) GROUP BY (1", "expected one condition"),
    ("(SELECT count(*) FROM read_text('/etc/passwd')) > 0", "subquery may not be in it"),
    ("EXISTS (FROM '/etc/passwd')", "subquery may not be in it"),
    ("key IN (SELECT key FROM rows)", "subquery may not be in it"),
    ("row_number() OVER () = 1", "window may not be in it"),
    ("COLUMNS(*) = 1", "star may not be in it"),
    ("label = ?", "expected one condition"),
    ("PRAGMA database_list", "syntax error"),
    ("random() < 0.5", r"random\(\) is no function of one row's values"),
    ("current_setting('threads') = '1'", r"current_setting\(\) is no function"),
    ("now() > '2020-01-01'::TIMESTAMPTZ", r"now\(\) is no function"),
    ("read_text('/etc/passwd') IS NULL", r"read_text\(\) is no function"),
    ("sum(label) > 1", r"sum\(\) is no function"),
    ("len(repeat(prompt, 1000000000)) > 1", r"repeat\(\) is no function"),
    ("labl = 1", 'Referenced column "labl" not found'),
    ("prompt", "Could not convert string 'thing 0' to BOOL"),
    ("label = 'cat'", "Could not convert string 'cat' to INT64"),
    ("(" * 2000 + "true" + ")" * 2000, "depth"),
]


@pytest.mark.parametrize(("where", "message"), HOSTILE, ids=[where[:30] or "empty" for where, _ in HOSTILE])
def test_what_is_no_condition_over_one_row_is_one_line(source, tmp_path, where, message):
    with pytest.raises(UserError, match=message) as caught:
        select(open_dataset(source), where, tmp_path / "view")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "view").exists()


@pytest.mark.parametrize(
    "where",
    [
        "regexp_matches(prompt, 'thing [12]') AND view BETWEEN 0 AND 1",
        "prompt ILIKE 'THING%' AND width * height >= 64 AND codec IN ('png', 'jpeg')",
        "CASE WHEN view = 0 THEN label = 1 ELSE true END",
        "view > 0 OR label = 1 -- of the anchor",
        "md5_number(key) % 2 = 0",
        "len(list_filter([label, 5], lambda n: n > 1)) = 2",
        "rows.label::VARCHAR = '1'",
    ],
)
def test_what_people_ask_for_works(source, where):
    assert 0 < len(select(open_dataset(source), where).groups()) < 18


@pytest.mark.parametrize("document", ['{"places":["x::file:///etc"]}', '{"places":["http:x"]}', "[]", '{"places":[1]}'])
def test_a_hostile_list_of_places_is_refused(source, tmp_path, document):
    select(open_dataset(source), "label = 1", tmp_path / "view")
    (tmp_path / "view" / "places.json").write_text(document)
    with pytest.raises(UserError):
        open_dataset(tmp_path / "view")


@pytest.mark.parametrize(
    ("own", "url", "written"),
    [
        ("/a/b/view", "/a/source", "../../source"),
        ("s3://bucket/x/view", "s3://bucket/source", "../../source"),
        ("s3://bucket/view", "s3://other/source", "s3://other/source"),
        ("s3://bucket/view", "/a/source", "/a/source"),
        ("/a/view", "gs://b/source", "gs://b/source"),
    ],
)
def test_places_are_relative_where_both_may_move_together(own, url, written):
    assert relative(own, url) == written
    assert resolved(own, written) == url


def test_a_view_in_a_bucket_of_a_source_in_a_bucket(s3_url, tmp_path):
    make_dataset(f"{s3_url}/source", tmp_path, shards=3)
    cache = ShardCache(tmp_path / "cache", 10**9)
    select(open_dataset(f"{s3_url}/source", cache=cache), "label = 1", f"{s3_url}/view")
    data = open_dataset(f"{s3_url}/view", cache=cache)
    assert chosen(data) == [1, 4, 7, 10, 13, 16]
    row = data.rows(ok_only=True).to_pylist()[-1]
    np.testing.assert_array_equal(data.image(row), pixels(16, 1))
    assert verify(f"{s3_url}/view").problems == []


def test_the_stream_gives_the_groups_of_a_view_once_an_epoch(source, tmp_path):
    stream = pytest.importorskip("trainer.stream")
    view = select(open_dataset(source), "label <> 1", tmp_path / "view")
    expected = {int(group) for group in view.groups().group}
    for data in (view, open_dataset(tmp_path / "view")):
        batches = stream.Stream([data], batch_groups=2, views=2, seed=0, workers=1)
        got = list(islice(batches, len(expected)))  # two epochs
        images = np.concatenate([batch.images.numpy() for batch in got])
        seen = [g for image in images for g in expected if any((image[0] == pixels(g, v)).all() for v in range(2))]
        assert sorted(seen) == sorted([*expected, *expected])


def test_the_card_of_a_view_hides_the_shards_from_readers_that_see_no_selection(source, tmp_path):
    select(open_dataset(source), "label = 1", tmp_path / "view", name="ones")
    files = {path.name for path in (tmp_path / "view").iterdir() if path.is_file()}
    assert files == {"README.md", "dataset.json", "places.json"}
    text = (tmp_path / "view" / "README.md").read_text()
    assert "> label = 1" in text
    assert "configs" not in text
    assert json.loads((tmp_path / "view" / "dataset.json").read_text())["selection"]["where"] == "label = 1"
