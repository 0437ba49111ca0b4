"""A catalog is a folder of records that are only added: found by words, pulled by name, wrong by nobody's race."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import open_dataset
from manifests.catalog import Catalog, Score
from manifests.description import described
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.scores import read_scores
from manifests.store import Store
from manifests.takedown import takedown
from tests.manifests.making import make_dataset


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    return str(tmp_path / "shared") if request.param == "local" else request.getfixturevalue("s3_url")


def add(catalog, url, root=None, **options):
    dataset = open_dataset(url, root=root)
    return catalog.add(dataset, described(dataset, Store.open(url)), **{"name": "toys", "owner": "ann", **options})


def test_what_is_added_is_found_and_stays(place, tmp_path):
    make_dataset(f"{place}/data", tmp_path, shards=1)
    catalog = Catalog.open(f"{place}/catalog", create=True)
    assert catalog.records() == []
    record = add(catalog, f"{place}/data")
    assert (record.name, record.version, record.groups, record.images) == ("toys", "1", 6, 12)
    assert add(catalog, f"{place}/data") == record
    again = Catalog.open(f"{place}/catalog")
    assert again.records() == [record]
    assert again.find("toys@1") == again.find("toys@newest") == again.find(f"toys@{record.root[:8]}") == record
    assert again.url_of(record) == f"{place}/data"
    assert again.search(["THING", "toys"]) == again.search([]) == [record]
    assert again.search(["toys", "dinosaur"]) == []
    old = open_dataset(f"{place}/data")
    takedown(old, keys=[old.groups().key[0]])
    with pytest.raises(ConflictError, match=r"toys@1 is .* and stays so"):
        add(catalog, f"{place}/data", version="1")
    newer = add(catalog, f"{place}/data")
    assert (newer.version, newer.taken_down, newer.parents) == ("2", 1, [record.root])
    assert [one.version for one in Catalog.open(f"{place}/catalog").records()] == ["2", "1"]
    assert catalog.find("toys@newest") == newer
    for value in (0.31, 0.35):
        catalog.score(Score(root=newer.root, measure="clipart26", value=value, by="bob", low=0.3, high=0.4))
    catalog.score(Score(root=newer.root, measure="clipart26", value=0.35, by="bob", low=0.3, high=0.4))
    assert [score.value for score in catalog.scores(newer.root)] == [0.35, 0.31]
    assert catalog.scores(record.root) == []


def test_two_who_gave_one_version_at_once_are_both_shown_and_neither_is_guessed(tmp_path):
    make_dataset(tmp_path / "a", tmp_path, shards=1)
    make_dataset(tmp_path / "b", tmp_path, shards=2)
    one, two = (Catalog.open(str(tmp_path / "catalog"), create=True) for _ in range(2))
    first = add(one, tmp_path / "a")
    second = first.model_copy(update={"root": open_dataset(tmp_path / "b").root})
    Store.open(tmp_path / "catalog").put_bytes(json.dumps(second.model_dump()).encode(), second.object_name)
    with pytest.raises(ConflictError, match="two people gave this version"):
        two.find("toys@1")
    assert two.find(f"toys@{first.root[:12]}") == first


@pytest.mark.parametrize("reference", ["toys", "toys@", "@1", "toys@x", "toys@1/../2", "Toys@1"])
def test_what_is_no_reference_is_one_line(tmp_path, reference):
    with pytest.raises(UserError, match="expected NAME@VERSION"):
        Catalog.open(str(tmp_path), create=True).find(reference)


def test_absent_names_and_bad_ones_are_one_line(tmp_path):
    make_dataset(tmp_path / "a", tmp_path, shards=1)
    catalog = Catalog.open(str(tmp_path / "catalog"), create=True)
    with pytest.raises(UserError, match="no toys@3: there are the versions none"):
        catalog.find("toys@3")
    for name, version in (("../x", None), ("toys", "x"), ("", None), ("toys", "1.2.3.4")):
        with pytest.raises(UserError, match="expected a name of a-z"):
            add(catalog, tmp_path / "a", name=name, version=version)


def test_records_that_are_none_hide_no_others(tmp_path):
    make_dataset(tmp_path / "a", tmp_path, shards=1)
    catalog = Catalog.open(str(tmp_path / "catalog"), create=True)
    record = add(catalog, tmp_path / "a")
    folder = tmp_path / "catalog" / "records"
    (folder / "toys-v2-0000000000000000.json").write_bytes(b"{")
    (folder / "toys-v3-1111111111111111.json").write_bytes(json.dumps(record.model_dump()).encode())
    assert Catalog.open(str(tmp_path / "catalog")).records() == [record]


def test_a_results_table_becomes_scores_and_another_table_is_refused(tmp_path):
    known = {"set": "clipart26", "split": "test", "protocol": "knn", "metric": "balanced accuracy", "partition": ""}
    rows = [
        {**known, "value": value, "low": 0.2, "high": 0.4, "commit": "c" * 40, "images": 9} for value in (0.3, 0.35)
    ]
    (tmp_path / "results").mkdir()
    for number, row in enumerate(rows):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "results" / f"{number}.parquet")
    scores = read_scores(tmp_path / "results", "5a" * 32, by="bob", method="simclr")
    assert [(score.measure, score.value) for score in scores] == [
        ("clipart26 test: knn, balanced accuracy", 0.3),
        ("clipart26 test: knn, balanced accuracy", 0.35),
    ]
    assert (scores[0].low, scores[0].by, scores[0].note) == (0.2, "bob", "commit cccccccccccc")
    assert read_scores(tmp_path / "results" / "1.parquet", "5a" * 32, by="bob")[0].value == 0.35
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(CorruptError, match=r"other\.parquet: no results table: a row lacks one of protocol"):
        read_scores(tmp_path / "other.parquet", "5a" * 32, by="bob")
    pq.write_table(pa.Table.from_pylist([{**known, "value": float("nan")}]), tmp_path / "nan.parquet")
    with pytest.raises(CorruptError, match="no results table: value"):
        read_scores(tmp_path / "nan.parquet", "5a" * 32, by="bob")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results"):
        read_scores(tmp_path / "empty", "5a" * 32, by="bob")
