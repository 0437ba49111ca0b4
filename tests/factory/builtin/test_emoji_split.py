"""Variants of one emoji stay together, and about a fifth of all is held out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.builtin.emoji_split import family, split_of


@pytest.mark.parametrize(
    "variants",
    [
        ("person running", "man running", "woman running: facing right"),
        ("family: man, woman, boy", "family: woman, girl, girl"),
        ("one o’clock", "twelve-thirty"),
        ("person: red hair", "woman: bald", "man", "boy", "person"),
        ("keycap: 1", "keycap: #"),
        ("red heart", "light blue heart", "black heart"),
        ("large orange diamond", "small blue diamond"),
        ("left arrow", "up-right arrow", "up-down arrow"),
        ("left-facing fist", "right-facing fist"),
        ("merman", "mermaid", "merperson"),
        ("health worker", "man health worker"),
    ],
)
def test_variants_are_one_family(variants: tuple[str, ...]) -> None:
    assert len({family(label) for label in variants}) == 1
    assert len({split_of(label) for label in variants}) == 1


def test_different_things_are_different_families() -> None:
    labels = ["pizza", "cat", "cat face", "red apple", "red car", "woman’s hat", "man’s shoe", "upside-down face"]
    assert len({family(label) for label in labels}) == len(labels)


def test_a_fifth_of_many_families_is_held_out() -> None:
    held_out = [split_of(f"thing {number}") == "test" for number in range(5000)]
    assert sum(held_out) / len(held_out) == pytest.approx(0.2, abs=0.02)


@given(st.text(max_size=40))
def test_any_label_has_a_side_and_always_the_same(label: str) -> None:
    assert split_of(label) in ("train", "test")
    assert split_of(label) == split_of(f" {label} ")
