"""Prompts: every format gives the same rows, columns keep their meaning, and each group has one row of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.prompt_rows import PromptRow, PromptTable
from factory.prompts import PromptConfig, read_prompts, row_of_group
from manifests.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"prompt": "a cat", "negative_prompt": "blur", "guidance_scale": 2.5, "label": "cat", "sky": "sun", "n": 1},
    {"prompt": 'a dög, "big"', "negative_prompt": "", "guidance_scale": 3.0, "label": "dog", "sky": "rain", "n": 2},
]


def as_csv(path: Path) -> None:
    lines = [",".join(ROWS[0]), *(",".join('"' + str(v).replace('"', '""') + '"' for v in r.values()) for r in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def read(**config: Any) -> PromptTable:
    return read_prompts(PromptConfig(**config))[0]


@pytest.mark.parametrize(("suffix", "write"), [("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / f"p.{suffix}")
    table = read(file=str(tmp_path / f"p.{suffix}"))
    row = table.row(1)
    assert (len(table), table.label_names) == (2, ("cat", "dog"))
    assert (row.prompt, row.negative_prompt, row.guidance_scale, row.label) == ('a dög, "big"', "", 3.0, 1)
    assert row.extra == {"x_sky": "rain", "x_n": 2}
    assert table.extra_types == {"x_sky": pa.string(), "x_n": pa.int64()}


def test_a_text_file_has_a_prompt_a_line_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\ufeffa cat\n\n  a dog  \n", encoding="utf-8")
    table = read(file=str(tmp_path / "p.txt"))
    assert [table.row(i).prompt for i in range(len(table))] == ["a cat", "a dog"]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("caption,kind\nhello,3\n")
    row = read(file=str(tmp_path / "p.csv"), columns={"prompt": "caption", "label": "kind"}).row(0)
    assert (row.prompt, row.label, row.extra) == ("hello", 3, {})


@pytest.mark.parametrize(
    ("name", "text", "config", "expected"),
    [
        ("none.txt", None, {}, "no such file"),
        ("p.doc", "hello", {}, "suffix '.doc' is none of"),
        ("p.txt", "\n \n", {}, "holds no prompt"),
        ("p.csv", "caption\nhello\n", {}, "has no column 'prompt', it has caption"),
        ("p.csv", "prompt\nhello\n", {"columns": {"label": "kind"}}, "has no column 'kind'"),
        ("p.csv", "prompt,x_a,a\nhello,1,2\n", {}, "two columns would both be called x_a"),
        ("p.csv", "prompt,guidance_scale\nhello,much\n", {}, "column guidance_scale is not double"),
        ("p.jsonl", "{broken\n", {}, "not jsonl"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": null}\n', {}, "row 1 has no prompt"),
        ("p.jsonl", '{"prompt": "a", "b": {"c": 1}}\n', {}, "column x_b holds struct"),
        ("p.parquet", "hello", {}, "not parquet"),
    ],
)
def test_a_bad_prompt_file_is_one_line(
    tmp_path: Path, name: str, text: str | None, config: dict[str, Any], expected: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=expected) as error:
        read(file=str(tmp_path / name), **config)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize(
    ("suffix", "form", "text"),
    [
        ("txt", "text", "hällo\n"),
        ("csv", "csv", "prompt\nhällo\n"),
        ("csv", "csv", "prompt,x_ä\nhello,1\n"),
        ("jsonl", "jsonl", '{"prompt": "hällo"}\n'),
    ],
)
def test_a_file_in_another_encoding_is_one_line_with_the_remedy(
    tmp_path: Path, suffix: str, form: str, text: str, encoding: str
) -> None:
    (tmp_path / f"p.{suffix}").write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=f"p.{suffix}: not UTF-8 {form} .* save it as UTF-8") as error:
        read(file=str(tmp_path / f"p.{suffix}"))
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_before_utf_8_is_no_part_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt\na cat\n", encoding="utf-8-sig")
    assert read(file=str(tmp_path / "p.csv")).row(0).prompt == "a cat"


TEMPLATES = ["a {animal} in {place}", "{animal}!"]
WORDS = {"animal": ["cat", "dog"], "place": ["rome", "oslo", "lima"]}


def test_templates_count_through_every_choice_of_words_once() -> None:
    table = read(templates=TEMPLATES, words=WORDS)
    prompts = [table.row(i).prompt for i in range(len(table))]
    assert prompts[:4] == ["a cat in rome", "a cat in oslo", "a cat in lima", "a dog in rome"]
    assert prompts[6:] == ["cat!", "dog!"]
    assert len(set(prompts)) == len(prompts) == 8
    assert table.row(3).extra == {"x_animal": "dog", "x_place": "rome"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"templates": ["a {cat}"]}, "a word list for {cat}"),
        ({"templates": ["a {cat.legs}"], "words": {"cat": ["x"]}}, "plain names in the braces"),
        ({"templates": ["a"], "words": {"cat": ["x"]}}, "cat is used by no template"),
        ({"templates": ["a {cat}"], "words": {"cat": []}}, "cat is empty"),
        ({"templates": ["a {cat"], "words": {"cat": ["x"]}}, "expected '}' before end of string"),
        ({}, "exactly one of file, texts and templates, found none"),
    ],
)
def test_templates_and_words_must_fit(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        PromptConfig(**config)


@settings(deadline=None)
@given(seed=st.integers(0, 2**63 - 1), rows=st.integers(1, 50), epoch=st.integers(0, 5))
@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_each_prompt_is_shown_once_before_any_comes_again(order: Any, seed: int, rows: int, epoch: int) -> None:
    shown = [row_of_group(order, seed, group, rows) for group in range(epoch * rows, (epoch + 1) * rows)]
    assert sorted(shown) == list(range(rows))


def test_shuffled_epochs_differ_and_sampled_rows_repeat() -> None:
    epochs = [[row_of_group("shuffled", 1, e * 20 + i, 20) for i in range(20)] for e in range(2)]
    sampled = Counter(row_of_group("sampled", 1, group, 20) for group in range(2000))
    assert epochs[0] != epochs[1]
    assert len(sampled) == 20
    assert max(sampled.values()) < 160  # 100 expected, standard deviation below 10


def test_a_prompt_id_leads_back_to_the_row_of_the_source() -> None:
    rows: list[PromptRow] = [read(texts=["a", "b"]).row(i) for i in (0, 1)]
    assert [row.prompt_id.rpartition("-")[2] for row in rows] == ["0", "1"]


def test_variants_are_a_list_of_texts_beside_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"prompt": "a", "variants": ["b", "", "c"]}\n{"prompt": "d"}\n{"prompt": "e", "variants": []}\n'
    )
    table = read(file=str(tmp_path / "p.jsonl"))
    assert [table.row(i).variants for i in range(3)] == [("b", "c"), (), ()]
    (tmp_path / "p.csv").write_text("prompt,variants\na,b\n")
    with pytest.raises(UserError, match="column variants is not list<") as caught:
        read(file=str(tmp_path / "p.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("labels", "expected"), [("1,2", True), ("x,y", False), (",", False)])
def test_labels_that_are_numbers_are_told_from_texts(tmp_path: Path, labels: str, expected: bool) -> None:
    lines = [f"p{number},{label}" for number, label in enumerate(labels.split(","))]
    (tmp_path / "p.csv").write_text("\n".join(["prompt,label", *lines]) + "\n")
    assert read(file=str(tmp_path / "p.csv")).has_number_labels is expected
