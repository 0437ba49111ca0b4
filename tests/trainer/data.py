"""Small data sets made of integers, so that every machine holds the same pixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from manifests.commit import CommitRecord, Group, View, commit_shard
from manifests.store import Store
from manifests.version import VersionDoc, VersionShard, publish


def pixels(group: int, view: int, size_px: int = 32) -> np.ndarray:
    """Stripes whose direction and colour belong to the group, and whose phase to the view."""
    y, x = np.mgrid[:size_px, :size_px]
    wave = (x * (1 + group % 5) + y * (1 + group // 5 % 5) + 7 * view) * 9 % 256
    return np.stack([wave, (wave * (2 + group % 3) + 40 * group) % 256, 255 - wave], axis=2).astype(np.uint8)


def encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def make_dataset(
    folder: Path,
    *,
    groups: int = 24,
    views: int = 2,
    groups_per_shard: int = 7,
    size_px: int = 32,
    stream_id: str = "ab" * 32,
    prompts: list[str] | None = None,
    images: dict[tuple[int, int], bytes] | None = None,
    latents: dict[tuple[int, int], list[float]] | None = None,
    label_names: tuple[str, ...] = (),
) -> str:
    """Write a finished data set; `images` replaces the bytes of some (group, view), `latents` are what made them."""
    store = Store.open(folder, create=True)
    scratch = folder.parent / f"{folder.name}-scratch"
    scratch.mkdir(exist_ok=True)
    records: list[CommitRecord] = []
    for index, first in enumerate(range(0, groups, groups_per_shard)):
        members = range(first, min(first + groups_per_shard, groups))
        records.append(
            commit_shard(
                store,
                stream_id=stream_id,
                index=index,
                first_group=first,
                groups=[_group(g, views, size_px, prompts, images or {}, latents or {}) for g in members],
                numerics={"encoder": "png"},
                scratch=scratch,
            )
        )
    shards = [VersionShard.of(record) for record in records]
    names = list(label_names)
    publish(
        store,
        VersionDoc(kind="adopted", shards=shards, views_per_group=views, extension="png", label_names=names),
    )
    return str(folder)


def _group(
    group: int,
    views: int,
    size_px: int,
    prompts: list[str] | None,
    images: dict[tuple[int, int], bytes],
    latents: dict[tuple[int, int], list[float]],
) -> Group:
    made = []
    for view in range(views):
        data = images.get((group, view)) or encode(pixels(group, view, size_px))
        row: dict[str, object] = {"width": size_px, "height": size_px, "codec": "png", "view_seed": group * 100 + view}
        if (group, view) in latents:
            row |= {"latent": latents[group, view], "latent_space": "z", "class_id": group % 3}
        made.append(View(row=row, data=data, extension="png"))
    return Group(group=group, views=made, prompt=prompts[group] if prompts else None, label=group % 4)


def stripe_latents(groups: int, views: int) -> dict[tuple[int, int], list[float]]:
    """What decides the stripes of an image: both directions, the colour and the phase."""
    return {
        (g, v): [float(g % 5), float(g // 5 % 5), float(g % 3), float(v)] for g in range(groups) for v in range(views)
    }
