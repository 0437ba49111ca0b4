"""What a folder tells of a version's origin is checked against its names, and one part against the other."""

import pytest

from manifests import verify
from manifests.canonical import canonical_json, sha256_hex
from manifests.store import Store
from manifests.version import newest, publish
from tests.manifests.making import commit, finish

IDENTITY = {"seed": 7, "sigma": 0.5}
STREAM = sha256_hex(canonical_json(IDENTITY))
PROMPTS = b"a red fox\n"
RECIPE = {"stream_id": STREAM, "identity": IDENTITY, "recipe": {}, "prompts_sha256": sha256_hex(PROMPTS)}
SEGMENT = {"stream_id": STREAM, "first_group": 0, "groups": 12, "groups_per_shard": 6, "first_shard": 0}
NEXT = {**SEGMENT, "first_group": 12, "groups": 5, "first_shard": 2}


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "data", create=True)
    finish(store, [commit(store, index, tmp_path, stream_id=STREAM) for index in range(2)])
    return store


def problems(store, recipe=RECIPE, segments=(SEGMENT, NEXT), sources=(PROMPTS,)):
    for data in sources:
        store.put_bytes(data, f"sources/{sha256_hex(data)}")
    if recipe is not None:
        store.put_bytes(recipe if isinstance(recipe, bytes) else canonical_json(recipe), f"recipes/{STREAM}.json")
    for number, segment in enumerate(segments):
        data = segment if isinstance(segment, bytes) else canonical_json(segment)
        store.put_bytes(data, f"segments/{number:04d}.json")
    return verify(store.url).problems


def test_a_sound_origin_has_no_problem_nor_has_none_at_all(store):
    assert problems(store, None, (), ()) == []
    assert problems(store) == []


def test_a_recipe_may_give_its_name_by_its_whole_content(store):
    adopted = canonical_json({"kind": "adopted"})
    store.put_bytes(adopted, f"recipes/{sha256_hex(adopted)}.json")
    assert problems(store) == []


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({**RECIPE, "identity": {**IDENTITY, "seed": 8}}, "neither its content nor its identity gives its name"),
        ({**RECIPE, "stream_id": "0" * 64}, "neither its content nor its identity gives its name"),
        ({"kind": "adopted"}, "neither its content nor its identity gives its name"),
        (canonical_json(RECIPE) + b" ", "no object in canonical JSON"),
        (b"[" * 100_000, "no object in canonical JSON"),
        (b"[]", "no object in canonical JSON"),
        ({**RECIPE, "prompts_sha256": "0" * 64}, f"its prompts, sources/{'0' * 64}, are absent"),
        ({**RECIPE, "learned_sha256": "0" * 64}, f"its learned steps, sources/{'0' * 64}, are absent"),
    ],
)
def test_a_damaged_recipe_is_named(store, recipe, message):
    [line] = problems(store, recipe)
    assert line.startswith(f"recipes/{STREAM}.json")
    assert message in line


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([b"{}"], "segments/0000.json is damaged: stream_id: Field required"),
        ([canonical_json(SEGMENT) + b"\n"], "segments/0000.json is damaged: it: "),
        ([{**SEGMENT, "groups_per_shard": 0}], "segments/0000.json is damaged: groups_per_shard: "),
        ([{**SEGMENT, "groups": 12.0}], "segments/0000.json is damaged: groups: "),
        ([SEGMENT, {**NEXT, "first_group": 13}], "segments/0001.json: begins at (group, shard) (13, 2), expected"),
        ([SEGMENT, {**NEXT, "first_shard": 1}], "segments/0001.json: begins at (group, shard) (12, 1), expected"),
        ([NEXT], "segments/0000.json: begins at (group, shard) (12, 2), expected segments/0000.json at (0, 0)"),
    ],
)
def test_a_damaged_segment_or_a_gap_between_two_is_named(store, segments, message):
    [line] = problems(store, segments=segments)
    assert line.startswith(message)


def test_shards_that_hold_other_groups_than_the_segments_say_are_named(store):
    found = problems(store, segments=[{**SEGMENT, "groups": 11}])
    assert [line.partition(": ")[2] for line in found] == [
        "(first group, groups) (6, 6), expected [(6, 5)] by the segments"
    ]


def test_a_shard_in_no_segment_is_named(store):
    [line] = problems(store, segments=[{**SEGMENT, "groups": 6}])
    assert line.endswith("(first group, groups) (6, 6), expected [] by the segments")


def test_a_segment_without_its_recipe_is_named(store):
    assert problems(store, None, [SEGMENT]) == [f"segments/0000.json: its recipe, recipes/{STREAM}.json, is absent"]


@pytest.mark.parametrize(
    ("generation", "parent", "message"),
    [
        (1, None, "generation 1 does not go with the parent None"),
        (0, "first", "generation 0 does not go with the parent "),
        (2, "first", "generation 2, expected 1, one after its parent's"),
        (1, "0" * 64, f"its parent, versions/{'0' * 64}.json, is absent"),
        (1, "first", None),
    ],
)
def test_a_parent_that_is_not_the_version_before_is_named(store, generation, parent, message):
    first = newest(store)
    parent = first.root() if parent == "first" else parent
    later = first.model_copy(update={"generation": generation, "parent": parent})
    root = publish(store, later)
    found = verify(store.url, root=root).problems
    assert len(found) == (message is not None)
    assert message is None or found[0].startswith(f"versions/{root}.json: {message}")
