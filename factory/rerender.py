"""Renders views again from their rows and compares: bit for bit under equal numerics, else within a tolerance.

The row is enough: seed, prompt, guidance and batch size stand in it, the source in recipes/. Neighbours and slots do
not matter, so one view costs one batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from factory.encode import encode
from factory.generators import open_generator
from factory.generators.protocol import Generator, ViewRequest
from factory.numerics import numerics, pick_device
from factory.plan import Batch
from factory.recipe import Recipe
from factory.render import render_batch
from factory.segments import read_recipe
from factory.views import Edit
from manifests import seeds
from manifests.commit import winners
from manifests.dataset import DataSet
from manifests.errors import CorruptError, UserError
from manifests.images import decode_image, pixel_hash
from manifests.store import Store

TOLERANCE_DB = 30.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """How one view rendered again compares with the stored one; `psnr_db` is None where that cannot be read."""

    key: str
    view: int
    is_equal: bool  # to the row's pixel hash
    psnr_db: float | None
    must_be_equal: bool
    data: bytes

    @property
    def is_good(self) -> bool:
        """Say whether the promise was kept."""
        if self.psnr_db is None:
            return False
        return self.is_equal or (not self.must_be_equal and self.psnr_db >= TOLERANCE_DB)


def choose_rows(
    data: DataSet, *, view: str | None, shard: int | None, sample: float | None, seed: int = 0
) -> list[Row]:
    """Pick the ok views to render again: of one key (`KEY` or `KEY.v01`), of one shard, or a random share of all.

    Raises: UserError when nothing is picked, or nothing in the data set was rendered.
    """
    if data.version.kind == "adopted":
        raise UserError(f"{data.url}: adopted, nothing to render")
    table = data.rows(shards=None if shard is None else [shard], ok_only=True)
    if view is not None:
        key, _, number = view.partition(".v")
        table = table.filter(pc.equal(table["key"], key))
        if number:
            table = table.filter(pc.equal(table["view"], _view_number(number, view)))
    if sample is not None:
        kept = seeds.uniform(0, f"rerender/{data.root}", len(table)) < sample
        table = table.filter(pa.array(kept)) if kept.any() else table.slice(0, 1)
    if not len(table):
        raise UserError(f"{data.url}: no image of {view or 'this shard'} to render again")
    return list(table.to_pylist())


def _view_number(number: str, view: str) -> int:
    if not number.isdigit():
        raise UserError(f"--view {view}: expected KEY or KEY.v00, as the members of a shard are called")
    return int(number)


def rerender(store: Store, data: DataSet, rows: Sequence[Row]) -> Iterable[Comparison]:
    """Render rows again and compare each with what is stored."""
    for stream_id in dict.fromkeys(row["stream_id"] for row in rows):
        recipe = _recipe(store, stream_id)
        mine = [row for row in rows if row["stream_id"] == stream_id]
        made_under = winners(store, stream_id)
        device = pick_device(recipe.device)
        here = numerics(device, recipe.encode)
        for number, source in enumerate(recipe.sources):
            wanted = [row for row in mine if row["source"] == f"sources.{number}"]
            if wanted:
                generator = open_generator(source, device=device, threads=recipe.threads)
                try:
                    _check_weights(source.model, generator, wanted[0])
                    same = {index: record.numerics == here for index, record in made_under.items()}
                    yield from _compared(data, recipe, generator, wanted, same)
                finally:
                    generator.close()


def _recipe(store: Store, stream_id: str) -> Recipe:
    return Recipe.model_validate({**read_recipe(store, stream_id).recipe, "groups": 1})


def _check_weights(model: str, generator: Generator, row: Row) -> None:
    found, expected = generator.fingerprint()["sha256"], row["generator_sha256"]
    if found != expected:
        raise UserError(f"{model}: weights {found[:16]} here, but the data set was made with {expected[:16]}")


def _compared(
    data: DataSet, recipe: Recipe, generator: Generator, rows: Sequence[Row], same: dict[int, bool]
) -> Iterable[Comparison]:
    pairs = [(row, request_of(row)) for row in rows]
    kinds: dict[Any, list[tuple[Row, ViewRequest]]] = {}
    for row, wanted in pairs:
        kinds.setdefault((row["batch_size"], generator.batch_key(wanted)), []).append((row, wanted))
    for (size, _), members in kinds.items():
        for start in range(0, len(members), size):
            chunk = members[start : start + size]
            requests = tuple(wanted for _, wanted in chunk)
            generator.prepare(list(dict.fromkeys((one.prompt, one.negative_prompt) for one in requests)))
            pixels = render_batch(generator, Batch(0, size, requests)).pixels  # [n, H, W, 3]
            for (row, _), image in zip(chunk, pixels, strict=True):
                yield _comparison(data, recipe, row, image, same.get(row["shard"], False))


def request_of(row: Row) -> ViewRequest:
    """Read from a row all that decided its view."""
    return ViewRequest(
        group=row["group"],
        view=row["view"],
        attempt=row["attempts"] - 1,
        seed=row["view_seed"],
        prompt=row["prompt"] or "",
        negative_prompt=row["negative_prompt"] or "",
        guidance_scale=row["guidance_scale"] or 0.0,
        class_id=row["class_id"],
        group_seed=row["group_seed"],
        latent=_vector(row["latent"]),
        edit=_edit(row),
        columns={name: row[name] for name in ("sigma", "psi", "strength") if row[name] is not None},
    )


def _vector(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


def _edit(row: Row) -> Edit | None:
    vector = _vector(row["edit_vector"])
    return None if vector is None else Edit(row["edit"], vector, row["first_layer"], row["last_layer"])


def _comparison(data: DataSet, recipe: Recipe, row: Row, pixels: np.ndarray, must_be_equal: bool) -> Comparison:
    encoded = encode(pixels, recipe.encode)
    is_equal = pixel_hash(pixels) == row["pixel_hash"]
    distance: float | None
    try:
        distance = psnr_db(decode_image(encoded), data.image(row))
    except CorruptError:
        distance = None
    return Comparison(row["key"], row["view"], is_equal, distance, must_be_equal, encoded)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two uint8 images, in dB; infinite where they are equal."""
    if a.shape != b.shape:
        return 0.0
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def write_images(comparisons: Sequence[Comparison], recipe_extension: str, out: Path) -> None:
    """Write what was rendered again, under the names that the members have."""
    out.mkdir(parents=True, exist_ok=True)
    for one in comparisons:
        (out / f"{one.key}.v{one.view:02d}.{recipe_extension}").write_bytes(one.data)


def report(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Say what was checked, bit-equality or a tolerance, and how it came out."""
    strict = sum(one.must_be_equal for one in compared)
    bad = [f"{one.key}.v{one.view:02d}" for one in compared if not one.is_good]
    finite = [one.psnr_db for one in compared if one.psnr_db is not None and math.isfinite(one.psnr_db)]
    checked = "bit-equality" if strict == len(compared) else f"PSNR of at least {TOLERANCE_DB:.0f} dB"
    return {
        "images": len(compared),
        "checked": checked if strict in (0, len(compared)) else f"bit-equality for {strict}, else {checked}",
        "equal": sum(one.is_equal for one in compared),
        "stored_image_unreadable": sum(one.psnr_db is None for one in compared),
        "lowest_psnr_db": min(finite) if finite else None,
        "not_as_promised": bad,
    }
