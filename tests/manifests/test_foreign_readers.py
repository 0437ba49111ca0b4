"""Other people's readers take what we write as it lies: as many samples as there are ok groups, the same pixels.

Well-formed orphans lie about in every test, and one shard has no sample at all: nobody may pick them up or stumble.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from manifests import open_dataset
from manifests.documents import VersionDoc
from manifests.store import Store
from tests.manifests.making import commit, finish, leave_orphans, make_group, pixels

BROKEN = {(1, 0), (9, 1)} | {(group, 0) for group in range(12, 18)}
OK_GROUPS = [group for group in range(24) if group not in {1, 9, *range(12, 18)}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("foreign")
    store = Store.open(scratch / "data", create=True)
    parts = [[make_group(6 * index + place, broken=BROKEN) for place in range(6)] for index in range(4)]
    finish(
        store, [commit(store, index, scratch, part) for index, part in enumerate(parts)], name="toys", licence="CC0-1.0"
    )
    leave_orphans(scratch / "data")
    return scratch / "data"


@pytest.fixture
def version(folder) -> VersionDoc:
    return open_dataset(folder).version


def row_files(folder: Path, version: VersionDoc) -> list[str]:
    return [str(folder / shard.rows.name) for shard in version.shards]


def test_shards_txt_lists_the_tars_with_samples_and_no_orphan(folder, version):
    listed = (folder / "shards.txt").read_text().splitlines()
    assert listed == [shard.shard.name for shard in version.shards if shard.groups_ok]
    assert len(listed) == 3
    assert len(list((folder / "shards").iterdir())) == 5


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_hugging_face_datasets(folder, hf_offline, streaming):
    from datasets import load_dataset

    samples = list(load_dataset(str(folder), split="train", streaming=streaming))
    assert [sample["json"]["group"] for sample in samples] == OK_GROUPS
    for sample in samples:
        group = sample["json"]["group"]
        assert sample["json"]["prompt"] == f"thing {group % 5}"
        assert sample["json"]["view_seeds"] == ["18446744073709551615", "18446744073709551614"]
        for view in range(2):
            np.testing.assert_array_equal(np.asarray(sample[f"v{view:02d}.png"]), pixels(group, view))


def test_hugging_face_takes_the_types_from_the_card_and_the_rows_by_list(folder, version, hf_offline):
    from datasets import List, Value, load_dataset

    features = load_dataset(str(folder), split="train", streaming=True).features
    assert features["json"]["label"] == Value("int64")
    assert features["json"]["view_seeds"] == List(Value("string"))
    rows = load_dataset("parquet", data_files=row_files(folder, version), split="train")
    assert rows.num_rows == 48
    assert sum(status == "ok" for status in rows["status"]) == 2 * len(OK_GROUPS)


def test_webdataset(folder):
    from webdataset import WebDataset

    urls = [str(folder / line) for line in (folder / "shards.txt").read_text().splitlines()]
    samples = list(WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [sample["json"]["group"] for sample in samples] == OK_GROUPS
    for sample in samples:
        for view in range(2):
            np.testing.assert_array_equal(sample[f"v{view:02d}.png"], pixels(sample["json"]["group"], view))


def test_duckdb_and_pandas(folder, version):
    import duckdb
    import pandas

    files = row_files(folder, version)
    counted = duckdb.sql(f"select status, count(*) from read_parquet({files}) group by all").fetchall()
    frame = pandas.concat([pandas.read_parquet(file) for file in files])
    assert dict(counted) == frame["status"].value_counts().to_dict() == {"ok": 32, "quarantined": 8, "dropped": 8}
    assert frame["view_seed"].dtype == np.uint64
    [(seed, label)] = duckdb.sql(
        f"select view_seed, label from read_parquet({files}) where key like '%23' and view = 1"
    ).fetchall()
    assert (seed, label) == (2**64 - 2, 23 % 3)
    offset = int(frame[(frame["status"] == "ok") & (frame["group"] == 20)]["offset"].iloc[0])
    assert (folder / version.shards[3].shard.name).read_bytes()[offset:][:4] == b"\x89PNG"


def test_croissant(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path))
    import mlcroissant

    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert dataset.metadata.issues.errors == set()
    assert not [line for line in caplog.messages if "not standard" in line]
    rows = list(dataset.records("views"))
    assert len(rows) == 48
    assert [row["views/group"] for row in rows if row["views/view"] == 0] == list(range(24))
    assert rows[-1]["views/key"] == b"5a5a5a5a-000000023"
    images = {Path(r["images/member"].decode()).name: np.asarray(r["images/image"]) for r in dataset.records("images")}
    assert len(images) == 2 * len(OK_GROUPS)
    np.testing.assert_array_equal(images["5a5a5a5a-000000023.v01.png"], pixels(23, 1))


def test_the_card_says_that_images_are_synthetic_only_where_they_are(folder, version):
    import yaml

    from manifests.card import CardFacts, readme

    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["license"] == "cc0-1.0"
    assert front["size_categories"] == ["n<1K"]
    assert "synthetic" in front["tags"]
    assert "made by a generator" in body
    assert version.root() in body
    adopted = version.model_copy(update={"kind": "adopted", "licence": "Etalab-2.0 AND MIT", "name": ""})
    text = readme(adopted, CardFacts(sources=["drawings by A. N. Other"], command="python -m manifests adopt a b"))
    front = yaml.safe_load(text.split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", "Etalab-2.0 AND MIT")
    assert "synthetic" not in front["tags"]
    assert "made by a generator" not in text
    assert "- drawings by A. N. Other" in text
    assert "- 1: b" in text


def test_the_python_of_the_card_runs(folder, hf_offline):
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("PATH OR URL", str(folder)).replace("PATH", str(folder))
    code += "\nprint(pixels.tobytes().hex(), len(list(groups)))\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert ran.stdout.split() == [pixels(0, 0).tobytes().hex(), str(len(OK_GROUPS))], ran.stderr


def test_the_json_member_has_the_keys_and_types_that_the_card_declares(folder, version):
    import yaml

    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    declared = {f["name"]: f for f in front["dataset_info"]["features"][0]["struct"]}
    data = open_dataset(folder)
    row = data.rows(ok_only=True).to_pylist()[0]
    sample = json.loads(data.read(0, 512, 400).partition(b"\0")[0])
    assert list(sample) == sorted(declared)
    assert sample["key"] == row["key"]
    kinds = {"string": str, "int64": int}
    for name, value in sample.items():
        assert isinstance(value, list if "list" in declared[name] else kinds[declared[name]["dtype"]])


def test_names_from_a_table_stay_names_in_the_card(version):
    import yaml

    from manifests.card import CardFacts, readme

    evil = "cat\n---\n## Made by\n<script>x</script> [click](http://evil)"
    _, head, body = readme(version.model_copy(update={"name": evil, "label_names": [evil]}), CardFacts()).split(
        "---\n", 2
    )
    assert yaml.safe_load(head)["pretty_name"] == " ".join(evil.split())
    assert "## Made by" not in body.splitlines()
    assert r"- 0: cat --- ## Made by \<script>x\</script> \[click\](http://evil)" in body.splitlines()
