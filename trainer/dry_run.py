"""`pretrain --dry-run`: what a run would read, where it would begin and how long it would be; writes nothing.

All that a start checks before its first step is checked, but for the encoder's own making. Shards that are looked into
come into the cache, as they would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifests.dataset import DataSet
from manifests.errors import UserError
from manifests.store import Store
from manifests.target import check_folder
from trainer.config import RunConfig
from trainer.mirror import ENCODER_MARK
from trainer.pretrain import chosen_precision, open_stream
from trainer.run import Run, open_run
from trainer.stream import Stream
from trainer.track import check_installed


def look(config: RunConfig, urls: Sequence[str], out: str | None) -> list[str]:
    """Say in lines what `pretrain` would find and do.

    Raises: whatever `pretrain` would, for config, data and folder.
    """
    config = config.model_copy(update={"precision": chosen_precision(config)})
    check_installed(config.trackers)
    with tempfile.TemporaryDirectory() as nowhere, _folder(out or nowhere) as folder:
        run = open_run(folder, config, urls)
        stream, facts = open_stream(run, rank=0, world=1)
        run.check(facts)
        lines = [_data(dataset) for dataset in run.datasets]
        return [*lines, _length(config, stream), *([f"out: {out}: {_state(run)}"] if out else [])]


@contextmanager
def _folder(out: str) -> Iterator[Path]:
    """Give the run's folder; for a bucket's an image of it, which has what says what run it is and how far."""
    if "://" not in out:
        check_folder(Path(out))
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as image:
        _draw(out, Path(image))
        try:
            yield Path(image)
        except UserError as error:
            raise type(error)(str(error).replace(image, out)) from None


def _draw(url: str, image: Path) -> None:
    store, checkpoints = (Store.open(one, create=True, dry_run=True) for one in (url, f"{url}/checkpoints"))
    if not store.exists("config.json"):
        return
    (image / "config.json").write_bytes(store.get_bytes("config.json"))
    for name in (f"encoder/{ENCODER_MARK}", *(f"checkpoints/{one}/DONE" for one in checkpoints.folders())):
        if store.exists(name):
            (image / name).parent.mkdir(parents=True)
            (image / name).touch()


def _data(dataset: DataSet) -> str:
    version = dataset.version
    counts = f"{version.groups_ok} groups, {version.views_ok} images, licence {version.licence or 'unknown'}"
    return f"data: {dataset.url}: {counts}, root {dataset.root[:12]}"


def _length(config: RunConfig, stream: Stream) -> str:
    steps = -(-config.images // config.batch_images)
    images = steps * config.batch_images
    epochs = images / config.data.views / sum(stream.order.totals)
    saved = -(-images // max(config.checkpoint_images, config.batch_images))
    return (
        f"length: {images} images in {steps} steps of {config.batch_images}: {epochs:.3g} epochs of "
        f"{config.data.views} views a group, {saved} checkpoints"
    )


def _state(run: Run) -> str:
    if run.is_finished:
        return "finished already"
    done = sorted(path.parent.name for path in run.checkpoints.glob("ckpt-*/DONE"))
    return f"goes on from {int(done[-1].partition('-')[2])} images" if done else "begins"
