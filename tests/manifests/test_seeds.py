"""Seeds against a Philox written from the paper, golden words, and the laws they must follow."""

import hashlib
import json
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import seeds

M64 = (1 << 64) - 1
GOLDEN = {
    "group_seed": 10446417630725126121,
    "view_seed": 16061380701207442443,
    "derive": 3756846056144619271,
    "prompt": 8234462977170159433,
    "group": 5270342409968282237,
    "permutation": [1, 2, 0, 4, 3, 5],
    "integers": [83, 54, 65, 56, 2],
    "normal": [-0.9303025007247925, 0.03046659380197525, 0.1340857297182083, 1.191838264465332],
    "uniform": [0.07756510335415134, 0.7908086146113518],
}


def philox4x64_10(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds as in Salmon et al. 2011, table 2, on Python's integers."""
    x, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(p1 >> 64) ^ x[1] ^ k[0], p1 & M64, (p0 >> 64) ^ x[3] ^ k[1], p0 & M64]
        k = [(k[0] + 0x9E3779B97F4A7C15) & M64, (k[1] + 0xBB67AE8584CAA73B) & M64]
    return x


def reference_words(seed: int, purpose: str, count: int) -> list[int]:
    digest = hashlib.sha256(json.dumps(["draw", seed, purpose], separators=(",", ":")).encode()).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    blocks = [philox4x64_10([1 + i, 0, 0, 0], key) for i in range(-(-count // 4))]
    return [word for block in blocks for word in block][:count]


def test_the_reference_gives_the_authors_known_answer():
    # kat_vectors of Random123: philox4x64 10 rounds, counter and key all ones.
    assert philox4x64_10([M64] * 4, [M64] * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]  # fmt: skip


@given(st.integers(0, M64), st.text(max_size=8), st.integers(0, 13))
def test_raw_words_are_philox_from_counter_one(seed, purpose, count):
    purpose = purpose.encode("ascii", "ignore").decode().replace("\x7f", "")
    assert seeds.raw_words(seed, purpose, count).tolist() == reference_words(seed, purpose, count)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 64])
def test_normals_are_box_muller_of_the_words(size):
    words = reference_words(5, "noise", size + size % 2)
    u = [(word >> 11) * 2.0**-53 for word in words]
    expected = []
    for first, second in zip(u[::2], u[1::2], strict=True):
        radius = math.sqrt(-2.0 * math.log(1.0 - first))
        expected += [radius * math.cos(2 * math.pi * second), radius * math.sin(2 * math.pi * second)]
    np.testing.assert_array_max_ulp(seeds.normal(5, "noise", size), np.float32(expected[:size]), maxulp=1)


def test_golden_values():
    assert seeds.group_seed(0, 0) == GOLDEN["group_seed"]
    assert seeds.view_seed(0, 1, 2, 3) == GOLDEN["view_seed"]
    assert seeds.derive(7, "sampler") == GOLDEN["derive"]
    assert seeds.prompt_positive_id("a red fox") == GOLDEN["prompt"]
    assert seeds.group_positive_id("ab" * 32, 12) == GOLDEN["group"]
    assert seeds.permutation(1, "order", 6).tolist() == GOLDEN["permutation"]
    assert seeds.integers(1, "pick", 100, 5).tolist() == GOLDEN["integers"]
    np.testing.assert_array_max_ulp(seeds.normal(1, "noise", 4), np.float32(GOLDEN["normal"]), maxulp=1)
    np.testing.assert_array_equal(seeds.uniform(1, "u", 2), GOLDEN["uniform"])


@given(st.integers(0, M64), st.integers(0, 40), st.integers(0, 40))
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(seed, a, b):
    short, long = sorted((a, b))
    np.testing.assert_array_equal(seeds.normal(seed, "p", long)[:short], seeds.normal(seed, "p", short))


def test_draws_follow_their_laws():
    x = seeds.normal(3, "x", (200, 500)).astype(np.float64)
    assert x.shape == (200, 500)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01
    assert abs((x**4).mean() - 3) < 0.1
    u = seeds.uniform(3, "u", 100_000)
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    counts = np.bincount(seeds.integers(3, "i", 7, 70_000), minlength=7)
    assert (len(counts), counts.min() > 9_500) == (7, True)
    assert sorted(seeds.permutation(3, "p", 1000).tolist()) == list(range(1000))


@pytest.mark.parametrize("block", [1, 3, 4, 11, 100])
def test_rows_drawn_in_blocks_are_those_drawn_at_once(block):
    found = list(seeds.integer_rows(5, "rows", 1000, (11, 7), block))
    assert [len(one) for one in found[:-1]] == [block] * (len(found) - 1)
    assert np.array_equal(np.concatenate(found), seeds.integers(5, "rows", 1000, (11, 7)))


def test_seeds_of_other_views_purposes_and_attempts_differ():
    found = {seeds.view_seed(s, g, v, a) for s in range(3) for g in range(9) for v in range(9) for a in range(3)}
    found |= {seeds.group_seed(s, g) for s in range(3) for g in range(9)}
    found |= {seeds.derive(s, p) for s in range(3) for p in ("a", "b")}
    assert len(found) == 3 * 9 * 9 * 3 + 3 * 9 + 3 * 2
    assert not np.array_equal(seeds.uniform(1, "a", 4), seeds.uniform(1, "b", 4))


def test_one_prompt_is_one_positive_however_it_is_composed():
    composed, decomposed = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    assert composed != decomposed
    assert seeds.prompt_positive_id(composed) == seeds.prompt_positive_id(decomposed)
    assert 0 <= seeds.prompt_positive_id("x") < 2**63
    assert seeds.group_positive_id("a" * 64, 1) != seeds.group_positive_id("b" * 64, 1)
