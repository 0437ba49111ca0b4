"""Publishes to a data set repository of the Hugging Face Hub, in commits of few files, the version's own last.

The folder lies in the repository as it is: the card lists the tars, so the Hub's viewer and `datasets` read it. What is
pulled from `hf://datasets/…` comes through the Hub's own fsspec file system, like any other URL.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manifests import patience
from manifests.card import card_files
from manifests.closure import Thing, lineage, things
from manifests.dataset import DataSet
from manifests.description import described
from manifests.errors import UserError, reached
from manifests.store import Store
from manifests.transfer import Progress, fetch

_URL = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?/?")
MOST_FILES, MOST_BYTES = 50, 5_000_000_000  # of a commit: the Hub asks for few and small ones
_MOST_OBJECTS, _MOST_IN_FOLDER = 100_000, 10_000  # of a repository, as its documentation asks


def is_hub(url: str) -> bool:
    """Say whether a URL names a place on the Hub."""
    return url.startswith("hf://")


def _parsed(url: str) -> tuple[str, str | None]:
    match = _URL.fullmatch(url)
    if match is None:
        raise UserError(f"{url}: expected hf://datasets/OWNER/NAME, with @BRANCH if it is not the main one")
    return match["repo"], match["revision"]


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError("publishing to the Hub needs huggingface_hub: pip install 'viewmill[share]'") from error
    return HfApi()


def plan_hub(dataset: DataSet, source: Store, url: str) -> tuple[list[Thing], int]:
    """Compare with the repository; returns the objects that it lacks, and how many it has.

    Raises: UserError for a name that is none, or more objects than the Hub takes.
    """
    repo, revision = _parsed(url)
    wanted = things(source, lineage(source, dataset.version))
    if len(wanted) > _MOST_OBJECTS or 2 * len(dataset.version.shards) > 2 * _MOST_IN_FOLDER:
        raise UserError(f"{dataset.url}: {len(wanted)} objects are more than the Hub takes: reshard into larger shards")
    with reached(url, is_target=True):
        api = _api()
        there = set(api.list_repo_files(repo, repo_type="dataset", revision=revision)) if _exists(api, repo) else set()
    missing = [thing for thing in wanted if thing.name not in there]
    return missing, len(wanted) - len(missing)


def _exists(api: Any, repo: str) -> bool:
    return bool(api.repo_exists(repo, repo_type="dataset"))


def publish_to_hub(dataset: DataSet, source: Store, url: str, missing: Sequence[Thing], *, progress: Progress) -> None:
    """Put what is missing, then the version with its card in one commit.

    Raises: StoreError if the Hub fails; UserError if it refuses.
    """
    repo, revision = _parsed(url)
    with reached(url, is_target=True):
        api = _api()
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        for batch in _batches(missing):
            with tempfile.TemporaryDirectory() as folder:
                operations = [_addition(thing.name, _local(source, thing, Path(folder))) for thing in batch]
                _commit(api, repo, revision, operations, f"{len(batch)} objects")
            for thing in batch:
                progress(thing.size, 1)
        last = [_addition(name, data) for name, data in _documents(dataset, source).items()]
        _commit(api, repo, revision, last, f"version {dataset.root[:12]}")


def _batches(missing: Sequence[Thing]) -> Iterator[list[Thing]]:
    batch: list[Thing] = []
    for thing in missing:
        if batch and (len(batch) == MOST_FILES or sum(t.size for t in batch) + thing.size > MOST_BYTES):
            yield batch
            batch = []
        batch.append(thing)
    if batch:
        yield batch


def _local(source: Store, thing: Thing, folder: Path) -> Path:
    local = source.local_path(thing.name)
    if local is None:
        local = folder / thing.name.replace("/", "_")
        fetch(source, thing, local)
    return local


def _documents(dataset: DataSet, source: Store) -> dict[str, bytes]:
    kin = lineage(source, dataset.version)
    found = {version.object_name(): version.to_bytes() for version in kin}
    for version in kin:
        found |= {name: source.get_bytes(name) for name, _ in source.list(f"signatures/{version.root()}")}
    found |= card_files(dataset.version, described(dataset, source))
    return {**found, "dataset.json": dataset.version.to_bytes()}


def _addition(name: str, content: Path | bytes) -> Any:
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(
        path_in_repo=name, path_or_fileobj=content if isinstance(content, bytes) else str(content)
    )


def _commit(api: Any, repo: str, revision: str | None, operations: list[Any], message: str) -> None:
    def commit() -> None:
        with reached(f"hf://datasets/{repo}", is_target=True):
            api.create_commit(repo, operations, commit_message=message, repo_type="dataset", revision=revision)

    patience.patiently(commit, patience.WAITS_S)
