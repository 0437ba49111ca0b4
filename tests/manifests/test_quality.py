"""The commands that say how good a data set is, on drawings of which we know it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from manifests.__main__ import app
from manifests.dataset import open_dataset
from manifests.distances import frechet_distance, kernel_distance
from manifests.embeddings import Extractor, find_embeddings
from manifests.errors import UserError
from manifests.quality import distances
from tests.manifests.seen import drawing, make_seen, see, write_embeddings

REAL = [drawing(seed) for seed in range(24)]
OTHERS = [drawing(seed) for seed in range(100, 116)]


def told(*words: str) -> dict:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def shrunk(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_seen(tmp_path_factory.mktemp("real"), REAL)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two of its images are small versions of real ones, and two of its own look alike."""
    images = [*OTHERS[:8], shrunk(REAL[5]), shrunk(REAL[11]), shrunk(OTHERS[0])]
    return make_seen(tmp_path_factory.mktemp("copied"), images)


def test_distance_prints_the_numbers_of_both_sets_features(real: str, copied: str) -> None:
    found = told("distance", real, copied, "--embeddings", "eye")
    ours, theirs = (find_embeddings(open_dataset(url), "eye").features for url in (real, copied))
    assert found["frechet"] == frechet_distance(theirs, ours)
    assert found["kernel"] == kernel_distance(theirs, ours)
    assert found["frechet_at_infinity"] is None, "11 images are too few for 48 features"
    assert (found["images"], found["real_images"]) == (11, 24)
    assert (found["extractor"], found["extractor_sha256"]) == ("eye", "ab" * 32)
    assert 0 < found["coverage"] <= 1


def test_many_images_have_a_distance_at_infinity(real: str) -> None:
    found = find_embeddings(open_dataset(real), "eye")
    few = type(found)(found.extractor, found.root, found.rows, found.features[:, :5])
    assert distances(few, few)["frechet_at_infinity"] is not None


def test_unlike_extractors_and_too_few_images_are_refused(real: str, tmp_path: Path) -> None:
    other = make_seen(tmp_path / "other", OTHERS[:5])
    write_embeddings(other, Extractor("eyes", "cd" * 32), OTHERS[:5])
    ours = find_embeddings(open_dataset(real), "eye")
    with pytest.raises(UserError, match="unlike extractors"):
        distances(ours, find_embeddings(open_dataset(other), "eyes"))
    with pytest.raises(UserError, match="24 and 5 images: expected more than 5"):
        distances(ours, find_embeddings(open_dataset(other), "eye-ab"))


def test_copies_of_training_images_are_found_and_nothing_else(real: str, copied: str) -> None:
    pairs = told("duplicates", copied, "--of", real, "--embeddings", "eye")["pairs"]
    assert [(pair["image"][-7:], pair["of"][-7:]) for pair in pairs] == [("008.v00", "005.v00"), ("009.v00", "011.v00")]
    assert all(pair["bits"] <= 6 and pair["distance"] < 0.05 for pair in pairs)


def test_a_copy_is_found_though_a_third_image_is_nearer_in_the_features(tmp_path: Path) -> None:
    copy = shrunk(REAL[0])
    decoy = np.asarray(
        Image.fromarray(copy).resize((4, 4), Image.Resampling.BOX).resize((48, 48), Image.Resampling.BOX)
    )
    url, training = make_seen(tmp_path / "ours", [copy, *OTHERS[:3]]), make_seen(tmp_path / "real", [REAL[0], decoy])
    assert np.square(see([copy]) - see([decoy])).sum() < np.square(see([copy]) - see([REAL[0]])).sum()
    words = ("duplicates", url, "--of", training, "--embeddings", "eye", "--bits", "2")
    assert [pair["of"][-7:] for pair in told(*words)["pairs"]] == ["000.v00"]


def test_near_duplicates_within_a_data_set_are_found(copied: str, real: str) -> None:
    pairs = told("duplicates", copied, "--embeddings", "eye")["pairs"]
    assert [(pair["image"][-7:], pair["of"][-7:]) for pair in pairs] == [("000.v00", "010.v00")]
    assert told("duplicates", real, "--embeddings", "eye")["pairs"] == []


def test_views_of_one_group_may_look_alike(tmp_path: Path) -> None:
    images = [picture for image in OTHERS[:4] for picture in (image, shrunk(image))]
    url = make_seen(tmp_path / "views", images, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert told("duplicates", url, "--embeddings", "eye")["pairs"] == []
    assert len(told("duplicates", url, "--embeddings", "eye", "--same-group")["pairs"]) == 4
    found = told("diversity", url, "--embeddings", "eye")
    assert found["within"] < 0.05 < found["between"]
    assert found["ratio"] == found["within"] / found["between"]
    assert see(images).shape == (8, 48)


def test_without_groups_there_is_no_diversity_to_measure(real: str) -> None:
    done = CliRunner().invoke(app, ["diversity", real, "--embeddings", "eye"])
    assert isinstance(done.exception, UserError)
    assert "two members" in str(done.exception)
