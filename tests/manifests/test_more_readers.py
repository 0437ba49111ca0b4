"""Readers that not everyone has installed, and what we write for them: wids, Polars, Energon; and the whole card."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from manifests import open_dataset, verify
from manifests.card import GeneratorFacts, card_files
from manifests.description import described, stored_facts
from manifests.energon import write_energon
from manifests.errors import UserError
from manifests.share import share
from manifests.store import Store
from manifests.takedown import takedown
from manifests.version import publish
from tests.manifests.making import make_dataset, pixels

BROKEN = {(2, 0), (7, 1)}
OK_GROUPS = [group for group in range(18) if group not in (2, 7)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    make_dataset(tmp_path / "source", tmp_path, shards=3, broken=BROKEN)
    share(str(tmp_path / "source"), str(tmp_path / "data"))
    return tmp_path / "data"


def test_wids_reads_the_published_index(folder, tmp_path):
    import wids

    samples = wids.ShardListDataset(str(folder / "wids.json"), cache_dir=str(tmp_path / "wids"), keep=True)
    assert len(samples) == len(OK_GROUPS)
    for number, group in enumerate(OK_GROUPS):
        assert samples[number][".json"]["group"] == group
        np.testing.assert_array_equal(np.asarray(samples[number][".v01.png"]), pixels(group, 1))


def test_polars_reads_the_rows(folder):
    import polars

    files = [folder / shard.rows.name for shard in open_dataset(folder).version.shards]
    rows = polars.concat([polars.read_parquet(file) for file in files])
    assert rows["view_seed"].dtype == polars.UInt64
    assert rows.filter(polars.col("status") == "ok")["group"].unique().to_list() == OK_GROUPS


def test_energon_opens_the_folder_and_skips_what_was_taken_down(folder):
    from megatron import energon

    source = open_dataset(folder)
    takedown(source, keys=[source.groups().key[3]])
    assert write_energon(open_dataset(folder)) == folder / ".nv-meta"

    @energon.stateless
    def cook(sample):
        facts = sample["json"] if isinstance(sample["json"], dict) else json.loads(sample["json"])
        keys = energon.basic_sample_keys(sample)
        return energon.CaptioningSample(**keys, image=sample["v01.png"], caption=f"{facts['group']}")

    class Encoder(energon.DefaultTaskEncoder):
        cookers = (energon.Cooker(cook),)

    config = energon.WorkerConfig(rank=0, world_size=1, num_workers=0)
    options = {"batch_size": None, "shuffle_buffer_size": None, "max_samples_per_sequence": None, "repeat": False}
    dataset = energon.get_train_dataset(str(folder), task_encoder=Encoder(), worker_config=config, **options)
    found = [int(sample.caption) for sample in energon.get_loader(dataset)]
    assert sorted(found) == [group for group in OK_GROUPS if group != 4]
    assert verify(folder, deep=True).problems == []


def test_the_indexes_for_energon_say_where_the_members_are(folder):
    import sqlite3
    import struct
    import tarfile

    write_energon(open_dataset(folder))
    names = (folder / "shards.txt").read_text().splitlines()
    assert list(json.loads((folder / ".nv-meta" / ".info.json").read_text())["shard_counts"]) == names
    with sqlite3.connect(folder / ".nv-meta" / "index.sqlite") as database:
        parts = database.execute(
            "SELECT tar_file_id, sample_key, part_name, content_byte_offset, content_byte_size FROM samples "
            "JOIN sample_parts USING (tar_file_id, sample_index)"
        ).fetchall()
    found = {(names[tar], f"{key}.{part}"): (offset, size) for tar, key, part, offset, size in parts}
    expected = {}
    for name in names:
        with tarfile.open(folder / name) as tar:
            members = tar.getmembers()
        expected |= {(name, m.name): (m.offset_data, m.size) for m in members}
        starts = struct.unpack(f"<{1 + len(members) // 3}Q", (folder / f"{name}.idx").read_bytes())
        assert starts[:-1] == tuple(m.offset for m in members[::3])
    assert found == expected


def test_energon_is_refused_where_the_tars_hold_other_groups(folder, tmp_path, s3_url):
    from manifests import select

    view = select(open_dataset(folder), "label = 1", tmp_path / "view")
    share(str(folder), s3_url)
    for dataset in (view, open_dataset(s3_url)):
        with pytest.raises(UserError, match="pull it first"):
            write_energon(dataset)


def test_the_card_tells_counts_prompts_quality_licences_and_shows_examples(folder):
    store, data = Store.open(folder), open_dataset(folder)
    facts = described(data, store).model_copy(
        update={
            "summary": "Toys | with a pipe.",
            "generators": [GeneratorFacts(name="integers", licence="CC-BY-NC-4.0")],
        }
    )
    publish(store, data.version, card=facts)
    again = described(data, store)
    assert again.summary == "Toys | with a pipe."
    assert [(one.name, one.licence, one.images) for one in again.generators] == [("integers", "CC-BY-NC-4.0", 32)]
    publish(store, data.version, card=again)
    text = (folder / "README.md").read_text()
    assert "5 distinct prompts of 2 to 2 words" in text
    assert "| bytes of an image | 32 |" in text
    assert "| blank image | 2 |" in text
    assert "| integers |  | CC-BY-NC-4.0 | name the makers; no commercial use |" in text
    assert "![Groups of views" in text
    with Image.open(folder / "examples.jpg") as sheet:
        assert sheet.width > 300
    assert stored_facts(store).summary == "Toys | with a pipe."
    front = yaml.safe_load(text.split("---\n", 2)[1])
    assert front["viewmill"]["generators"][0]["name"] == "integers"
    assert stored_facts(Store.open(Path(folder, "shards"))).summary == ""


def test_croissant_1_1_validates_loads_and_tells_where_it_came_from(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "croissant"))
    import mlcroissant

    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert dataset.metadata.issues.errors == set()
    assert len(list(dataset.records("views"))) == 36
    assert len(list(dataset.records("images"))) == 2 * len(OK_GROUPS)
    source = open_dataset(folder)
    takedown(source, keys=[source.groups().key[0]])
    newest = open_dataset(folder)
    facts = described(newest, Store.open(folder))
    document = json.loads(card_files(newest.version, facts)["croissant.json"])
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert document["prov:wasDerivedFrom"] == [{"@id": f"sha256:{source.root}"}]
    assert document["prov:wasGeneratedBy"]["prov:wasAssociatedWith"][0]["name"] == "integers"
