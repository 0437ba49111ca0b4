"""Rows of results: only added, whole or absent, found again, and compared with their like alone."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pytest

from manifests.errors import ConflictError, CorruptError, UserError
from tests.manifests.test_target import files_no_larger_than
from trainer.evaluation.comparison import cell, compared, drawn, select, table_lines
from trainer.evaluation.results import SCHEMA, already, append, read
from trainer.evaluation.suite.names import NAMES


def row(**other: Any) -> dict[str, Any]:
    text = {name: "x" for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True) if kind == "string"}
    numbers = {"seconds": 1.0, "seed": 0, "version": 1, "images": 100, "groups": 90, "learned_from": 80}
    measured = {"value": 0.5, "low": 0.4, "high": 0.6}
    known = {"metric": "linear", "protocol": "linear", "root": "ab" * 32, "split": "dev", "set": "clipart26"}
    return {**text, **numbers, **measured, **known, "checkpoint": "run", "checkpoint_sha256": "cd" * 32, **other}


def other_run(**other: Any) -> dict[str, Any]:
    return row(checkpoint="other", checkpoint_sha256="ef" * 32, **other)


def test_rows_come_back_as_they_were_and_older_files_are_never_touched(tmp_path: Path) -> None:
    first = append(tmp_path, [row(time="1")])
    before = (first.read_bytes(), first.stat().st_mtime_ns)
    second = append(tmp_path, [row(time="2", low=None, high=None)])
    assert read([tmp_path]) == [row(time="1"), row(time="2", low=None, high=None)]
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert read([second]) == [row(time="2", low=None, high=None)]


def test_the_folder_is_one_table_to_any_reader(tmp_path: Path) -> None:
    append(tmp_path, [row(time="1"), row(time="1", metric="knn")])
    append(tmp_path, [row(time="2")])
    found = duckdb.sql(f"select metric, count(*) from '{tmp_path}/*.parquet' group by metric order by metric")
    assert found.fetchall() == [("knn", 1), ("linear", 2)]


def test_what_was_measured_is_found_again_by_all_that_decides_it(tmp_path: Path) -> None:
    assert already(tmp_path / "absent", row()) == []
    append(tmp_path, [row(), row(metric="other")])
    assert len(already(tmp_path, row(time="later", commit="other", hardware="other", checkpoint="moved"))) == 2
    for name, value in [("checkpoint_sha256", "00"), ("seed", 1), ("root", "00"), ("split", "test"), ("version", 2)]:
        assert already(tmp_path, row(**{name: value})) == []


def write_for_ever(folder: Path) -> None:
    number = 0
    while True:
        append(folder, [row(time=str(number))] * 200)
        number += 1


def test_a_writer_that_is_killed_leaves_whole_files_alone(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(tmp_path,), daemon=True)
    writer.start()
    while len(list(tmp_path.glob("*.parquet"))) < 5:
        time.sleep(0.01)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert len(read([tmp_path])) == 200 * len(list(tmp_path.glob("*.parquet")))


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    with files_no_larger_than(1000), pytest.raises(UserError, match="larger than this process may write"):
        append(tmp_path, [row()])
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_result_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results; `python -m trainer evaluate"):
        read([tmp_path])
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CorruptError, match=r"broken\.parquet: no file of results"):
        read([tmp_path])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 1 and 2"),
        ({"root": "12" * 32}, "root abababababab and 121212121212"),
        ({"split": "test"}, "split dev and test"),
        ({"partition": "5 folds"}, "partition x and 5 folds"),
        ({"list_sha256": "34" * 32}, "list_sha256 x and 343434343434"),
        ({"images": 99}, "images 100 and 99"),
    ],
)
def test_unlike_rows_are_refused_in_one_clear_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConflictError) as refused:
        compared([row(), other_run(**change)])
    assert "\n" not in str(refused.value)
    assert f"linear of run on clipart26 and linear of other on clipart26 are not alike: {words}" in str(refused.value)
    assert str(refused.value).endswith("choose with --set, --split or --suite, or measure them anew")


def test_rows_are_chosen_by_protocol_set_and_split() -> None:
    rows = [row(), row(split="test"), row(set="emoji", root="12" * 32), row(protocol="knn")]
    assert select(rows, protocols=["linear"], dataset="clipart26", split="dev") == rows[:1]
    assert select(rows, protocols=NAMES, dataset="1212", split=None) == rows[2:3]
    with pytest.raises(UserError, match=r"none of 4 rows is wanted; there are knn on clipart26 dev, linear on"):
        select(rows, protocols=["retrieval"], dataset=None, split=None)


def test_the_later_of_two_measurements_counts_and_seeds_are_told_apart() -> None:
    found = compared([row(value=0.1), row(value=0.2), row(value=0.3, seed=1)])
    assert {name: one["value"] for name, one in found.rows["linear"].items()} == {
        "run (cdcdcd, seed 0)": 0.2,
        "run (cdcdcd, seed 1)": 0.3,
    }


def test_the_table_says_what_was_measured_and_the_plot_shows_every_subject() -> None:
    found = compared([row(), other_run(value=0.7, high=0.8), row(metric="effective_rank", value=12.5, low=None)])
    assert table_lines(found) == [
        "linear, percent (clipart26 dev, x, 100 images)",
        "  run    50.0 [40.0, 60.0]",
        "  other  70.0 [40.0, 80.0]",
        "effective_rank (clipart26 dev, x, 100 images)",
        "  run    12.500",
    ]
    svg = ElementTree.fromstring(drawn(found))
    words = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [words.count(name) for name in ("run", "other", "linear", "effective_rank")] == [2, 1, 1, 1]
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}circle"))) == 3


def test_a_subject_with_markup_in_its_name_stays_text() -> None:
    assert "<script>" not in drawn(compared([row(checkpoint="<script>")]))
    assert cell(row(metric="uniformity", value=-2.5, low=-3, high=-2)) == "-2.500 [-3.000, -2.000]"
