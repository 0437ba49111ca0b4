"""Other people's folders become data sets byte for byte; what is wrong with one is said in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import open_dataset, verify
from manifests.adopt import adopt
from manifests.errors import ConflictError, UserError
from manifests.store import Store
from manifests.table import Columns
from tests.manifests.making import encode, pixels

WORDS = ["cat", "dog", "cat", "eel", "dog", "cat"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    for number in range(6):
        path = folder / f"part{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels(number, 0)))
    return folder


def lines(**columns) -> list[dict]:
    rows = [{"file": f"part{n % 2}/{n}.png", "caption": f"a {WORDS[n]}", "label": WORDS[n]} for n in range(6)]
    return [{**row, **{name: values[n] for name, values in columns.items()}} for n, row in enumerate(rows)]


def write_table(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".csv":
        pa.csv.write_csv(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def adopted(source, tmp_path, **options):
    adopt(source, tmp_path / "out", **options)
    assert verify(tmp_path / "out", deep=True).problems == []
    return open_dataset(tmp_path / "out")


def test_without_a_table_all_images_are_taken_in_the_order_of_their_paths(source, tmp_path):
    (source / "notes.txt").write_text("no image")
    (source / ".thumbs").mkdir()
    (source / ".thumbs" / "0.png").write_bytes(encode(pixels(9, 9)))
    data = adopted(source, tmp_path, groups_per_shard=4, name="mine", licence="CC0-1.0")
    rows = data.rows().to_pylist()
    assert [row["source"] for row in rows] == [f"part{p}/{n}.png" for p in (0, 1) for n in (p, p + 2, p + 4)]
    for row in rows:
        stored = data.read(row["shard"], row["offset"], row["size"])
        assert stored == (source / row["source"]).read_bytes()
        np.testing.assert_array_equal(data.image(row), pixels(int(Path(row["source"]).stem), 0))
    assert (data.version.kind, data.version.views_per_group, data.version.name) == ("adopted", 1, "mine")
    assert len(data.version.shards) == 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_any_kind_gives_order_captions_labels_splits_and_own_columns(source, tmp_path, suffix):
    rows = lines(split=["train", "test"] * 3, x_score=[0.5, 1.5, 2.0, -1.0, 0.0, 9.0], x_n=list(range(6)))[::-1]
    data = adopted(source, tmp_path, table=write_table(tmp_path / f"table{suffix}", rows))
    table = data.rows()
    assert data.version.label_names == ["cat", "dog", "eel"]
    assert [data.version.label_names[n] for n in table["label"].to_pylist()] == WORDS[::-1]
    assert table["prompt"].to_pylist() == [row["caption"] for row in rows]
    assert table["split"].to_pylist() == [row["split"] for row in rows]
    assert table["x_score"].to_pylist() == [row["x_score"] for row in rows]
    assert (table.schema.field("x_n").type, table.schema.field("x_score").type) == (pa.int64(), pa.float64())
    groups = data.groups()
    assert groups.split.tolist() == [row["split"] for row in rows]
    assert (groups.positive_id[0] == groups.positive_id[3], groups.positive_id[0] == groups.positive_id[1]) == (
        True,
        False,
    )


def test_a_key_that_the_first_json_line_lacks_is_no_less_a_column(source, tmp_path):
    rows = [{"file": row["file"]} if place < 2 else {**row, "x_n": place} for place, row in enumerate(lines())]
    table = adopted(source, tmp_path, table=write_table(tmp_path / "t.jsonl", rows)).rows()
    assert table["prompt"].to_pylist() == [row.get("caption") for row in rows]
    assert table["x_n"].to_pylist() == [None, None, 2, 3, 4, 5]


def test_a_group_column_makes_views(source, tmp_path):
    table = write_table(tmp_path / "t.csv", [{k: r[k] for k in ("file", "g")} for r in lines(g=list("abcbca"))])
    data = adopted(source, tmp_path, table=table, columns=Columns(group="g"))
    assert data.version.views_per_group == 2
    rows = data.rows().to_pylist()
    assert [Path(row["source"]).stem for row in rows] == list("051324")
    assert [(row["group"], row["view"], row["role"]) for row in rows[:3]] == [
        (0, 0, "anchor"),
        (0, 1, "view"),
        (1, 0, "anchor"),
    ]


def test_integer_labels_are_kept_and_names_may_be_given_in_an_order_of_one_s_own(source, tmp_path):
    rows = lines(label=[3, 0, None, 3, 1, 2])
    data = adopted(source, tmp_path, table=write_table(tmp_path / "t.jsonl", rows), label_names=["d", "c", "b", "a"])
    assert data.rows()["label"].to_pylist() == [3, 0, None, 3, 1, 2]
    assert data.groups().label.tolist() == [3, 0, -1, 3, 1, 2]
    named = write_table(tmp_path / "n.jsonl", lines())
    adopt(source, tmp_path / "named", table=named, label_names=["eel", "dog", "cat", "fox"])
    assert open_dataset(tmp_path / "named").rows()["label"].to_pylist() == [2, 1, 2, 0, 1, 2]


def test_texts_that_look_like_numbers_stay_texts_and_empty_cells_are_null(source, tmp_path):
    (tmp_path / "t.csv").write_text('file,caption,split\npart0/0.png,007,1\npart0/2.png,,2\npart0/4.png,"NA, a\nb",\n')
    table = adopted(source, tmp_path, table=tmp_path / "t.csv").rows()
    assert table["prompt"].to_pylist() == ["007", None, "NA, a\nb"]
    assert table["split"].to_pylist() == ["1", "2", None]


def test_jpeg_and_webp_are_taken_byte_for_byte_too(tmp_path):
    for kind, extension in (("JPEG", "jpg"), ("WEBP", "webp")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / f"a.{extension}").write_bytes(encode(pixels(0, 0), kind))
        adopt(folder, tmp_path / f"out-{kind}")
        data = open_dataset(tmp_path / f"out-{kind}")
        [row] = data.rows().to_pylist()
        assert data.read(0, row["offset"], row["size"]) == (folder / f"a.{extension}").read_bytes()
        assert row["member"].endswith(f".v00.{extension}")
        assert row["pixel_hash"] is None


def test_adopting_again_gives_the_same_root_and_another_table_another(source, tmp_path):
    table = write_table(tmp_path / "t.jsonl", lines())
    first = adopt(source, tmp_path / "a", table=table, groups_per_shard=2)
    before = sorted(p for p in (tmp_path / "a").rglob("*"))
    assert adopt(source, tmp_path / "a", table=table, groups_per_shard=2) == first
    assert sorted(p for p in (tmp_path / "a").rglob("*")) == before
    assert adopt(source, tmp_path / "b", table=table, groups_per_shard=2) == first
    with pytest.raises(ConflictError, match="already holds another data set"):
        adopt(source, tmp_path / "a", groups_per_shard=2)
    write_table(table, lines(x_new=[1] * 6))
    assert adopt(source, tmp_path / "c", table=table, groups_per_shard=2) != first


def test_another_licence_for_the_same_images_is_refused_not_ignored(source, tmp_path):
    adopt(source, tmp_path / "out", licence="CC0-1.0")
    with pytest.raises(ConflictError, match=r"licence 'CC0-1\.0', not .*: give the same, or choose an empty folder"):
        adopt(source, tmp_path / "out", licence="MIT")
    assert open_dataset(tmp_path / "out").version.licence == "CC0-1.0"


def test_a_killed_run_goes_on_where_it_stopped(source, tmp_path):
    script = (
        "import os, sys; from pathlib import Path; import manifests.adopt as m\n"
        "real, done = m.commit_shard, []\n"
        "def commit(*a, **k):\n"
        "    if len(done) == 2: os.kill(os.getpid(), 9)\n"
        "    done.append(0); return real(*a, **k)\n"
        "m.commit_shard = commit\n"
        "m.adopt(Path(sys.argv[1]), sys.argv[2], groups_per_shard=1)\n"
    )
    out = tmp_path / "out"
    assert subprocess.run([sys.executable, "-c", script, str(source), str(out)], check=False).returncode == -9
    kept = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert len(kept) == 2
    root = adopt(source, out, groups_per_shard=1)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert root == adopt(source, tmp_path / "whole", groups_per_shard=1)
    assert [name for name, _ in Store.open(out).list("recipes")] == [
        f"recipes/{open_dataset(out).version.shards[0].stream_id}.json"
    ]


def changed(rows, number, **cells):
    return [{**row, **(cells if place == number else {})} for place, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            changed(lines(), 2, file="part0/none.png"),
            {},
            r"part0/none\.png: no such image \(it stands in .*t\.jsonl, row 3\)",
        ),
        (changed(lines(), 1, file="../secret.png"), {}, r"row 2: '\.\./secret\.png' is no path inside"),
        (changed(lines(), 1, file="/etc/passwd"), {}, "row 2: '/etc/passwd' is no path inside"),
        (changed(lines(), 1, file="part0/link.png"), {}, "row 2: 'part0/link.png' is a link that leaves"),
        (changed(lines(), 4, file="part0/broken.png"), {}, r"part0/broken\.png: .*no JPEG, PNG or WebP"),
        (changed(lines(), 4, file="part0/other.jpg"), {}, "several kinds .*convert them to one kind"),
        (changed(lines(), 0, file=5), {}, "Could not convert .part1/1.png. with type str"),
        (changed(lines(), 0, caption=["x"]), {}, "cannot mix list and non-list"),
        (lines(file=[5] * 6), {}, r"row 1: the column 'file' must hold a path, not 5"),
        (lines(caption=[1] * 6), {}, r"row 1: \{'caption': 1\} must be text"),
        (lines(quality=[1] * 6), {}, r"unknown columns \['quality'\]: expected .*, or your own as x_…"),
        (
            lines(group=list("aabbbc"), label=[0] * 6),
            {},
            "group 'b' has 3 images, group 'a' has 2: all groups must have the same number",
        ),
        (lines(group=list("aabbcc")), {}, "the images of group 'a' differ in label or split"),
        (lines(label=[0, 1, -1, 0, 0, 0]), {}, "strings, or integers from 0"),
        (lines(label=[0, 1, 7, 0, 0, 0]), {"label_names": ["a", "b"]}, "label 7 has no name: 2 were given"),
        (lines(), {"label_names": ["cat", "dog"]}, r"labels \['eel'\] are not among \['cat', 'dog'\]"),
        (lines(), {"columns": Columns(file="path")}, r"no column 'path': there are \['file', 'caption', 'label'\]"),
        ([], {}, "the table has no rows"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(source, tmp_path, rows, options, message):
    (tmp_path / "secret.png").write_bytes(encode(pixels(0, 0)))
    (source / "part0" / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "part0" / "broken.png").write_bytes(b"not an image")
    (source / "part0" / "other.jpg").write_bytes(encode(pixels(0, 0), "JPEG"))
    with pytest.raises(UserError, match=message) as caught:
        adopt(source, tmp_path / "out", table=write_table(tmp_path / "t.jsonl", rows), **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("t.xlsx", r"expected a table that ends in \.csv, \.jsonl, \.parquet"),
        ("none.csv", "there is no such table"),
        ("bad.jsonl", "bad.jsonl: "),
        ("bad.csv", "bad.csv: "),
        ("bad.parquet", "bad.parquet: "),
        ("excel.csv", r"excel.csv: not UTF-8 text \(byte 0\): save the table as UTF-8"),
        ("excel.jsonl", r"excel.jsonl: not UTF-8 text \(byte 0\): save the table as UTF-8"),
        ("twice.csv", r"two columns have one name: there are \['file', 'x_a', 'x_a'\]"),
        ("huge.jsonl", "huge.jsonl: Python int too large"),
        ("deep.jsonl", "deep.jsonl: maximum recursion depth"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(source, tmp_path, table, message):
    texts = {
        "bad.jsonl": '{"file": \n',
        "bad.csv": "file,a\n1\n",
        "bad.parquet": "PAR1",
        "twice.csv": "file,x_a,x_a\np,1,2\n",
        "huge.jsonl": f'{{"file": "p", "x_a": {2**70}}}\n',
        "deep.jsonl": "[" * 100_000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for suffix in (".csv", ".jsonl"):
        write_table(tmp_path / f"utf8{suffix}", lines())
        (tmp_path / f"excel{suffix}").write_text((tmp_path / f"utf8{suffix}").read_text(), encoding="utf-16")
    with pytest.raises(UserError, match=message) as caught:
        adopt(source, tmp_path / "out", table=tmp_path / table)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_absent_or_has_no_image_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no such folder of images"):
        adopt(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no image in it \(looked for \.jpeg, \.jpg, \.png, \.webp\)"):
        adopt(tmp_path / "empty", tmp_path / "out")
