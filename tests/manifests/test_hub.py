"""Publishing to the Hub: which commits would be made, in which order; the Hub itself is out of reach here."""

from dataclasses import dataclass, field

import pytest

from manifests import open_dataset
from manifests.errors import StoreError, UserError
from manifests.share import share
from tests.manifests.making import make_dataset


@dataclass
class Api:
    """A stand-in for huggingface_hub's, with the calls that we make."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    failures: int = 0

    def repo_exists(self, repo, repo_type):
        return bool(self.files)

    def list_repo_files(self, repo, repo_type, revision):
        return list(self.files)

    def create_repo(self, repo, repo_type, exist_ok):
        assert (repo, repo_type, exist_ok) == ("team/emoji", "dataset", True)

    def create_commit(self, repo, operations, commit_message, repo_type, revision):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("503 Service Unavailable")
        for one in operations:
            source = one.path_or_fileobj
            self.files[one.path_in_repo] = source if isinstance(source, bytes) else open(source, "rb").read()  # noqa: SIM115
        self.commits.append((commit_message, [one.path_in_repo for one in operations]))


@pytest.fixture
def api(monkeypatch, tmp_path):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    found = Api()
    monkeypatch.setattr("manifests.hub._api", lambda: found)
    monkeypatch.setattr("manifests.hub.MOST_FILES", 4)
    monkeypatch.setattr("manifests.patience.WAITS_S", (0.0,) * 4)
    return found


def test_the_version_comes_in_the_last_commit_and_what_is_there_is_not_sent_again(api, tmp_path):
    make_dataset(tmp_path / "data", tmp_path, shards=3)
    api.failures = 3
    moved = share(str(tmp_path / "data"), "hf://datasets/team/emoji")
    assert (moved.objects, moved.root) == (9, open_dataset(tmp_path / "data").root)
    *batches, (message, last) = api.commits
    assert message == f"version {moved.root[:12]}"
    assert {f"versions/{moved.root}.json", "dataset.json", "README.md", "shards.txt", "examples.jpg"} <= set(last)
    assert [len(names) for _, names in batches] == [4, 4, 1]
    assert batches[-1][1][0].startswith("commits/")
    (tmp_path / "back").mkdir()
    for name, data in api.files.items():
        path = tmp_path / "back" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    from manifests import verify

    assert verify(tmp_path / "back", deep=True).problems == []
    api.commits.clear()
    assert share(str(tmp_path / "data"), "hf://datasets/team/emoji").objects == 0
    assert len(api.commits) == 1


def test_a_hub_that_stays_down_and_names_that_are_none_are_one_line(api, tmp_path):
    make_dataset(tmp_path / "data", tmp_path, shards=1)
    api.failures = 99
    with pytest.raises(StoreError, match=r"hf://datasets/team/emoji: .*503"):
        share(str(tmp_path / "data"), "hf://datasets/team/emoji")
    for url in ("hf://team/emoji", "hf://datasets/emoji", "hf://datasets/a/b/c"):
        with pytest.raises(UserError, match="expected hf://datasets/OWNER/NAME"):
            share(str(tmp_path / "data"), url)
    with pytest.raises(UserError, match="resharded into a folder first"):
        share(str(tmp_path / "data"), "hf://datasets/team/emoji", where="label = 1")
