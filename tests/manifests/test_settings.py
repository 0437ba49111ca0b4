"""Files, presets and `--set` changes become one checked model, or one line a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from manifests.errors import UserError
from manifests.settings import merge, nearest, override, read_mapping, read_settings, settings_file, validated


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cat(Part):
    name: Literal["cat"] = "cat"
    lives: int = Field(default=9, ge=1)


class Dog(Part):
    name: Literal["dog"] = "dog"
    tricks: tuple[str, ...] = Field(default=("sit",), min_length=1)

    @model_validator(mode="after")
    def _tricks_differ(self) -> Dog:
        if len(set(self.tricks)) < len(self.tricks):
            raise ValueError("tricks that differ")
        return self


class House(Part):
    rooms: int = Field(ge=1)
    size_px: int | Literal["auto"] = 8
    pet: Annotated[Cat | Dog, Field(discriminator="name")] = Cat()
    guests: list[Cat] = []
    garden: Cat | None = None


def mistakes(**settings: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        validated(House, {"rooms": 1, **settings}, "house.yaml")
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"rooms": 0}, "rooms: got 0, expected greater than or equal to 1"),
        ({"size_px": "big"}, "size_px: got 'big', expected a valid integer or 'auto'"),
        ({"romos": 3}, "romos: unknown key; did you mean rooms?"),
        ({"zzz": 3}, "zzz: unknown key; known here: garden, guests, pet, rooms, size_px"),
        ({"pet": {"name": "cow"}}, "pet.name: got 'cow', expected one of cat, dog"),
        ({"pet": {"name": "cats"}}, "pet.name: got 'cats', expected one of cat, dog; did you mean cat?"),
        ({"pet": {"lives": 3}}, "pet.name: missing; it must be given"),
        ({"pet": {"name": "cat", "lifes": 3}}, "pet.lifes: unknown key; did you mean lives?"),
        ({"pet": {"name": "dog", "tricks": ["sit", "sit"]}}, "pet: expected tricks that differ"),
        ({"pet": {"name": "dog", "tricks": []}}, "pet.tricks: expected at least 1"),
        ({"guests": [{}, {"lives": 0}]}, "guests.1.lives: got 0, expected greater than or equal to 1"),
        ({"garden": {"lvies": 1}}, "garden.lvies: unknown key; did you mean lives?"),
        ({"garden": 3}, "garden: got 3, expected a valid dictionary or instance of Cat"),
    ],
)
def test_a_mistake_is_one_line_with_place_key_value_and_expectation(settings: dict[str, Any], line: str) -> None:
    assert mistakes(**settings) == [f"house.yaml: {line}"]


def test_every_mistake_has_a_line_and_a_missing_key_is_named() -> None:
    with pytest.raises(UserError) as error:
        validated(House, {"size_px": None, "doors": 1}, "there")
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == ["rooms", "size_px", "doors"]


def test_mappings_merge_key_by_key_and_all_else_is_replaced_whole() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(below, {"a": {"c": [9]}, "d": {"e": 1}}) == {"a": {"b": 1, "c": [9]}, "d": {"e": 1}}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_changes_are_typed_applied_in_order_and_reach_into_lists() -> None:
    given = {"a": {"b": [1, {"c": 2}]}}
    found = override(given, ["a.b.1.c=3", "a.new.deep=[x, 2.5]", "text=off", "a.b.0=null", "text='off'"])
    assert found == {"a": {"b": [None, {"c": 3}], "new": {"deep": ["x", 2.5]}}, "text": "off"}
    assert given == {"a": {"b": [1, {"c": 2}]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("a", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("a=[", r"'\[' is not a YAML value"),
        ("b.7=1", "'7' is no position in a list of 2"),
        ("b.x=1", "'x' is no position in a list of 2"),
        ("a.c=1", "'c' lies below the plain value 1"),
    ],
)
def test_a_change_that_fits_nothing_is_refused_by_name(change: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        override({"a": 1, "b": [1, 2]}, [change])
    assert str(error.value).startswith(f"--set {change}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "expected a mapping of settings, found list"),
        ("", "expected a mapping of settings, found NoneType"),
        ("a: [\n", "not valid YAML"),
        ("!!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_text_that_is_no_mapping_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        read_mapping(text, "a.yaml")
    assert str(error.value).startswith("a.yaml: ")
    assert "\n" not in str(error.value)


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "small.yaml").write_text("rooms: 1\npet: {name: cat, lives: 3}\n")
    (folder / "large.yaml").write_text("preset: small\nrooms: 9\n")
    return folder


def read(source: str | Path, presets: Path) -> dict[str, Any]:
    return read_settings(str(source), presets, "a house", "neither a file nor a preset")


def test_a_name_is_a_preset_and_a_suffix_makes_it_a_file(presets: Path) -> None:
    assert settings_file("small", presets, "") == presets / "small.yaml"
    assert settings_file("mine/small.yaml", presets, "") == Path("mine/small.yaml")
    with pytest.raises(UserError, match="smal: neither a file nor a preset; did you mean small"):
        read("smal", presets)


def test_a_file_builds_on_a_preset_that_builds_on_another(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: large\npet: {lives: 7}\n")
    assert read(tmp_path / "mine.yaml", presets) == {"rooms": 9, "pet": {"name": "cat", "lives": 7}}


def test_an_unknown_preset_below_and_an_absent_file_are_named(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: lagre\n")
    with pytest.raises(UserError, match=r"mine.yaml: preset: got 'lagre'; did you mean large"):
        read(tmp_path / "mine.yaml", presets)
    with pytest.raises(UserError, match="no such file; expected a house"):
        read(tmp_path / "none.yaml", presets)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="cannot read a house"):
        read(tmp_path / "bytes.yaml", presets)


def test_what_a_file_refers_to_is_placed_by_the_folder_that_it_lies_in(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: small\nfile: a.txt\n")
    (presets / "small.yaml").write_text("other: b.txt\n")

    def beside(values: dict[str, Any], folder: Path) -> dict[str, Any]:
        return {key: str(folder / value) if key != "preset" else value for key, value in values.items()}

    found = read_settings(str(tmp_path / "mine.yaml"), presets, "a house", "", beside)
    assert found == {"file": str(tmp_path / "a.txt"), "other": str(presets / "b.txt")}


def test_names_are_listed_where_they_are_few_and_none_is_near() -> None:
    assert nearest("smal", ["small", "large"]) == "; did you mean small?"
    assert nearest("zzz", ["small", "large"]) == "; known here: large, small"
    assert nearest("zzz", []) == ""
    assert nearest("zzz", [f"name{number}" for number in range(1000)]) == ""
