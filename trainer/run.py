"""The folder of a run: what is pinned when it starts, and checked when the same command runs again.

config.json      the whole config, the data sets' roots and the order's version, which decide the weights; the code
checkpoints/     whole or absent; the newest is where a run goes on
metrics.jsonl    one line per window of images
encoder/         the export, written last: its presence says that the run is finished
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learning.checkpoint import CheckpointError, load_newest
from manifests.checkout import code_commit
from manifests.dataset import DataSet, open_dataset
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.shard import file_sha256
from manifests.takedown import check_not_taken_down
from manifests.target import replaced
from trainer.config import RunConfig, check_same, parse_config
from trainer.data_facts import DataFacts
from trainer.exported import export_folder
from trainer.flow_file import WEIGHTS, flow_folder
from trainer.order import ORDER_VERSION

_BEGINNING = {"init_sha256", "flow_sha256"}


class Run:
    """A run folder whose pinned facts agree with the config and the data at hand."""

    def __init__(self, folder: Path, config: RunConfig, datasets: Sequence[DataSet], home: str | None = None) -> None:
        self.folder = folder
        self.home = home or str(folder.resolve())  # a bucket's URL is the same on every machine
        self.config = config
        self.datasets = list(datasets)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder"

    @property
    def has_checkpoint(self) -> bool:
        return any(self.checkpoints.glob("ckpt-*/DONE"))

    @property
    def is_finished(self) -> bool:
        return self.encoder.is_dir()

    def check(self, facts: DataFacts) -> None:
        """Compare facts with those that the run began with; a tokenizer's file may have changed since.

        Raises: ConflictError with a key-by-key difference.
        """
        if (self.folder / "config.json").is_file():
            pinned, now = read_pinned(self.folder), facts.to_dict()
            saved = pinned.get("data_facts", {})
            check_same({"data": saved}, {"data": {key: now[key] for key in saved}}, str(self.folder))
            if not self.has_checkpoint:  # else what it began with may be gone
                check_same(
                    {key: pinned[key] for key in pinned.keys() & _BEGINNING}, self._beginning(), str(self.folder)
                )

    def pin(self, facts: DataFacts) -> None:
        """Write config.json if this is the run's first start.

        Raises: UserError where it cannot be written.
        """
        path = self.folder / "config.json"
        if not path.exists():
            pinned = {
                "config": self.config.model_dump(mode="json"),
                "roots": [dataset.root for dataset in self.datasets],
                "data_sets": [_described(dataset) for dataset in self.datasets],
                "data_facts": facts.to_dict(),
                "order_version": ORDER_VERSION,
                "code": code_commit(),
                **self._beginning(),
            }
            with replaced(path) as part:
                part.write_text(json.dumps(pinned, indent=2) + "\n")

    def _beginning(self) -> dict[str, str]:
        """The hashes of the weights that it begins with, where it is given some."""
        found, init, flow = {}, self.config.init, self.config.encoder.flow.weights
        if init is not None:
            found["init_sha256"] = file_sha256(export_folder(Path(init)) / "model.safetensors")
        if flow is not None:
            found["flow_sha256"] = file_sha256(flow_folder(Path(flow)) / WEIGHTS)
        return found


def open_run(folder: Path, config: RunConfig, urls: Sequence[str], home: str | None = None) -> Run:
    """Open a run to start or go on, with the versions of the data that it began with; `home` is its bucket's URL.

    Raises: ConflictError with a key-by-key difference if the folder holds another run, or if groups of the data were
    taken down since; UserError for the data's faults.
    """
    if not (folder / "config.json").is_file():
        _check_free(folder)
        return Run(folder, config, _usable([open_dataset(url) for url in urls]), home)
    saved = read_pinned(folder)
    before = parse_config(saved["config"], f"{folder}/config.json")
    check_same({"config": before.identity()}, {"config": config.identity()}, str(folder))
    check_same({"order_version": saved["order_version"]}, {"order_version": ORDER_VERSION}, str(folder))
    check_same({"data sets": len(saved["roots"])}, {"data sets": len(urls)}, str(folder))
    datasets = [_reopen(url, root, folder) for url, root in zip(urls, saved["roots"], strict=True)]
    return Run(folder, config, _usable(datasets), home)


def _usable(datasets: list[DataSet]) -> list[DataSet]:
    """Refuse data of which something was taken down since; a run that has begun cannot go on without it."""
    for dataset in datasets:
        check_not_taken_down(dataset)
    return datasets


def newest_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """Return (images_seen, state) of the newest whole checkpoint, None where none was finished yet.

    Raises: CorruptError where those that were are all broken.
    """
    try:
        return load_newest(folder)
    except CheckpointError as error:
        raise CorruptError(str(error)) from None


def read_pinned(folder: Path) -> dict[str, Any]:
    """Read a run's config.json.

    Raises: UserError if there is none; CorruptError if it is not what `pin` wrote.
    """
    path = folder / "config.json"
    try:
        saved = json.loads(path.read_text())
        saved["config"], saved["roots"], saved["order_version"]
    except FileNotFoundError:
        raise UserError(f"{folder} is no run: it has no config.json; give the folder that pretrain wrote") from None
    except (ValueError, KeyError, TypeError):
        raise CorruptError(f"{path} is damaged: it must hold config, roots and order_version") from None
    return dict(saved)


def _described(dataset: DataSet) -> dict[str, Any]:
    version = dataset.version
    return {
        "name": version.name,
        "licence": version.licence,
        "groups": version.groups_ok,
        "images": version.views_ok,
    }


def _reopen(url: str, root: str, folder: Path) -> DataSet:
    try:
        return open_dataset(url, root=root)
    except CorruptError:
        raise
    except UserError as error:
        raise ConflictError(f"{folder} was trained on version {root[:12]}: {error}") from None


def _check_free(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no run; choose a new or empty folder")
