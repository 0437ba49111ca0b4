"""Side-cars of features: found by name, of this version only, and never compared with another extractor's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manifests.dataset import open_dataset
from manifests.embeddings import Extractor, check_alike, find_embeddings, read_embeddings
from manifests.errors import CorruptError, UserError
from manifests.verify import verify
from tests.manifests.seen import EYE, drawing, make_seen, see, write_embeddings

IMAGES = [drawing(seed) for seed in range(6)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return make_seen(tmp_path / "seen", IMAGES)


@pytest.mark.parametrize("name", ["eye", "eye-abab", f"eye-{'ab' * 6}"])
def test_a_side_car_is_found_by_its_name_or_how_it_begins(url: str, name: str) -> None:
    found = find_embeddings(open_dataset(url), name)
    assert found.extractor == Extractor("eye", EYE.sha256[:64])
    np.testing.assert_array_equal(found.features, see(IMAGES))
    assert found.named(2).endswith("-000000002.v00")


def test_beside_a_data_set_it_does_no_harm(url: str) -> None:
    assert not verify(url, deep=True).problems


@pytest.mark.parametrize("name", ["ear", "", "eye-cd"])
def test_another_name_says_what_there_is_and_how_to_make_it(url: str, name: str) -> None:
    with pytest.raises(UserError, match=r"there are \['eye-abababababab'\].*python -m trainer embed"):
        find_embeddings(open_dataset(url), name)


def test_a_name_of_two_side_cars_is_refused(url: str) -> None:
    write_embeddings(url, Extractor("eye", "cd" * 32), IMAGES)
    with pytest.raises(UserError, match="no single embeddings 'eye'"):
        find_embeddings(open_dataset(url), "eye")
    assert find_embeddings(open_dataset(url), "eye-cd").extractor.sha256 == "cd" * 32


def test_those_of_another_version_do_not_count(url: str) -> None:
    path = next((Path(url) / "embeddings").iterdir())
    path.rename(path.with_name(f"{path.stem[:-12]}{'0' * 12}.parquet"))
    with pytest.raises(UserError, match="there are none"):
        find_embeddings(open_dataset(url), "eye")


def test_a_side_car_under_anothers_name_is_corrupt(url: str) -> None:
    path = next((Path(url) / "embeddings").iterdir())
    path.rename(path.with_name(path.name.replace("abababababab", "cdcdcdcdcdcd")))
    with pytest.raises(CorruptError, match="another version or extractor"):
        find_embeddings(open_dataset(url), "eye")


@pytest.mark.parametrize("data", [b"", b"PAR1 and more", b"x" * 100])
def test_what_is_no_side_car_is_said(data: bytes) -> None:
    with pytest.raises(CorruptError, match="embed the data set again"):
        read_embeddings(data, "here")


def test_unlike_extractors_are_refused_by_both_names(tmp_path: Path, url: str) -> None:
    other = make_seen(tmp_path / "other", IMAGES[:3])
    write_embeddings(other, Extractor("eye", "cd" * 32), IMAGES[:3])
    pair = find_embeddings(open_dataset(url), "eye"), find_embeddings(open_dataset(other), "eye-cd")
    with pytest.raises(UserError, match=r"unlike extractors.*eye-abababababab and eye-cdcdcdcdcdcd"):
        check_alike(*pair)
