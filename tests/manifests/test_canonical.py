"""One text per value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.canonical import canonical_json, sha256_hex

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: "\\ud" not in json.dumps(value))


@given(VALUES)
def test_it_reads_back_and_says_the_same_again(value):
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


def test_the_order_of_keys_does_not_matter():
    assert canonical_json({"b": 1.0, "a": ["é", None]}) == '{"a":["é",null],"b":1.0}'.encode()
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_single_form_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011 - json and the codec word it differently
        canonical_json({"x": value})


def test_the_hash_is_sha256():
    assert sha256_hex(b"abc").startswith("ba7816bf8f01cfea")
