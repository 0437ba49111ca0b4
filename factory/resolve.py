"""Recipe -> stream: read the prompts, hash the weights, settle the batch size, and so fix what will be rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.builtin import file as builtin_file
from factory.generators.facts import AnySource, SourceFacts, facts_of
from factory.generators.latent_config import LatentSource
from factory.generators.protocol import Generator, ViewRequest
from factory.plan import plan_group, request
from factory.prompts import format_of, read_prompts
from factory.recipe import Recipe, difference, identity, stream_id
from factory.segments import StoredRecipe, read_recipe, stored_recipes
from factory.subjects import Subjects, subjects_of
from factory.views import Drawer
from factory.walks.file import Learned, parse_learned, read_bytes
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import ConflictError, UserError
from manifests.store import Store
from manifests.version import newest, version_roots


@dataclass(frozen=True)
class Stream:
    """A recipe with everything it points to: what it renders is decided."""

    recipe: Recipe
    subjects: Subjects
    names: list[str]
    fingerprints: list[dict[str, str]]
    terms: list[tuple[str, str]]  # each generator's name and licence
    identity: dict[str, Any]
    stream_id: str
    prompt_file: bytes | None
    learned_file: bytes | None

    @property
    def licences(self) -> list[str]:
        """List the generators' licences, each once."""
        return sorted({licence for _, licence in self.terms})

    @property
    def prompts_sha256(self) -> str | None:
        """Return the hash of the prompt file, where there is one."""
        return _sha256(self.prompt_file)

    @property
    def learned_sha256(self) -> str | None:
        """Return the hash of the strategy's file, where it has one."""
        return _sha256(self.learned_file)

    def learned(self) -> Learned | None:
        """Parse the strategy's file."""
        return learned_of(self.recipe, self.learned_file)


def resolve(recipe: Recipe, store: Store | None = None) -> Stream:
    """Read all that a recipe points to; a `batch: auto` is taken from the data set that is already there, else probed.

    Raises: UserError naming what is missing or does not fit.
    """
    prompts, prompt_file = read_prompts(recipe.prompts) if recipe.prompts else (None, None)
    learned_file = _learned_file(recipe)
    learned = learned_of(recipe, learned_file)
    known = [facts_of(source) for source in recipe.sources]
    subjects = subjects_of(recipe, prompts, [facts.class_names for facts in known])
    _try_strategy(recipe, subjects, [recipe.strategy.open(facts.space, learned) for facts in known])
    if learned is not None:
        _check_learned_on(learned, known)
    if recipe.judge.realism:
        from factory.realism import open_scorer

        open_scorer(recipe.judge.realism.probe, recipe.device)  # a missing model is said before a folder is claimed
    if recipe.batch == "auto":
        recipe = recipe.model_copy(update={"batch": _batch_of(store) or probe_batch(recipe)})
    if recipe.prompts and recipe.prompts.file:
        settled = recipe.prompts.model_copy(update={"format": format_of(recipe.prompts)})
        recipe = recipe.model_copy(update={"prompts": settled})
    fingerprints = [facts.fingerprint for facts in known]
    chosen = identity(recipe, fingerprints, _sha256(prompt_file), _sha256(learned_file))
    terms, names = [(facts.name, facts.licence) for facts in known], [facts.name for facts in known]
    return Stream(recipe, subjects, names, fingerprints, terms, chosen, stream_id(chosen), prompt_file, learned_file)


def _try_strategy(recipe: Recipe, subjects: Subjects, drawers: Sequence[Drawer]) -> None:
    """Draw a view of the first group: what does not fit is refused before a folder is claimed.

    Raises: UserError.
    """
    plan = plan_group(recipe, subjects, 0)
    request(recipe, plan, recipe.views - 1, 0, drawers[plan.source])


def _check_learned_on(learned: Learned, known: Sequence[SourceFacts]) -> None:
    """Refuse steps through another generator's space, which would lead anywhere.

    Raises: UserError.
    """
    expected = learned.facts.generator_sha256
    for facts in known:
        if facts.fingerprint["sha256"] != expected:
            raise UserError(
                f"strategy: its steps were learned on the generator {expected[:12]}, but {facts.name} is "
                f"{facts.fingerprint['sha256'][:12]}; learn them again on this one"
            )


def learned_of(recipe: Recipe, data: bytes | None) -> Learned | None:
    """Parse the bytes of a strategy's file.

    Raises: UserError where they are something else.
    """
    key = recipe.strategy.FILE
    if key is None:
        return None
    assert data is not None
    return parse_learned(data, key, f"strategy.{key}: {getattr(recipe.strategy, key)}")


def _learned_file(recipe: Recipe) -> bytes | None:
    key = recipe.strategy.FILE
    if key is None:
        return None
    text = str(getattr(recipe.strategy, key))
    if "://" in text:
        folder, _, name = text.rpartition("/")
        return Store.open(folder).get_bytes(name)
    return read_bytes(builtin_file(text) if text.startswith("builtin:") else Path(text).expanduser(), key)


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else sha256_hex(data)


def _batch_of(store: Store | None) -> int | None:
    streams = stored_recipes(store) if store else []
    batch = read_recipe(store, streams[0]).identity["batch"] if store and streams else None
    return int(batch) if batch is not None else None


def probe_batch(recipe: Recipe) -> int:
    """Find the largest power of two that the device renders with an eighth of its memory to spare; 8 on a CPU."""
    import torch

    from factory.numerics import pick_device

    device = pick_device(recipe.device)
    if not device.startswith("cuda"):
        return 8
    batch, memory = 1, torch.cuda.get_device_properties(torch.device(device)).total_memory
    while batch < 256 and _peak_bytes(recipe, device, 2 * batch) <= memory * 7 // 8:
        batch *= 2
    return batch


def _peak_bytes(recipe: Recipe, device: str, batch: int) -> float:
    import torch

    from factory.generators import open_generator

    torch.cuda.reset_peak_memory_stats()
    peak = 0.0
    for source in recipe.sources:
        generator = open_generator(source, device=device, threads=recipe.threads)
        try:
            wanted = [_probe(source, generator, view) for view in range(batch)]
            generator.prepare([("a probe", "")])
            generator.render(wanted, batch)
            peak = max(peak, float(torch.cuda.max_memory_allocated()))
        except torch.OutOfMemoryError:
            return float("inf")
        finally:
            generator.close()
            torch.cuda.empty_cache()
    return peak


def _probe(source: AnySource, generator: Generator, view: int) -> ViewRequest:
    if isinstance(source, LatentSource):
        z_dim = generator.space.z_dim if generator.space else 0
        return ViewRequest(0, view, 0, view, class_id=0, latent=(0.0,) * z_dim)
    return ViewRequest(0, view, 0, view, "a probe", "", max(source.guidance_grid))


def claim(store: Store, stream: Stream) -> None:
    """Write the recipe and its prompt file into the folder, in place of a recipe of which nothing was rendered.

    Raises: ConflictError with a line a differing key where another recipe was rendered.
    """
    check_same_recipe(store, stream)
    for other in stored_recipes(store):
        if other != stream.stream_id:
            _withdraw(store, other)
    for data in (stream.prompt_file, stream.learned_file):
        if data is not None:
            store.put_bytes(data, f"sources/{sha256_hex(data)}")
    recipe = stream.recipe.model_dump(mode="json", exclude_defaults=True)
    if stream.prompts_sha256:
        recipe["prompts"]["file"] = f"sources/{stream.prompts_sha256}"
    if key := stream.recipe.strategy.FILE:
        recipe["strategy"][key] = f"sources/{stream.learned_sha256}"
    stored = StoredRecipe(
        stream_id=stream.stream_id,
        identity=stream.identity,
        recipe=recipe,
        prompts_sha256=stream.prompts_sha256,
        learned_sha256=stream.learned_sha256,
    )
    store.put_bytes(canonical_json(stored.model_dump()), f"recipes/{stream.stream_id}.json")


def check_same_recipe(store: Store, stream: Stream) -> None:
    """Refuse a folder that holds something else.

    Raises: ConflictError.
    """
    streams = stored_recipes(store)
    others = [other for other in streams if other != stream.stream_id]
    if not streams and store.exists("dataset.json"):
        raise ConflictError(f"{store.url}: holds a data set that was not rendered from a recipe; choose another folder")
    for other in others:
        told = "; ".join(difference(read_recipe(store, other).identity, stream.identity))
        if store.list("commits") or version_roots(store):
            raise ConflictError(f"{store.url}: was begun with another recipe; choose another folder, or undo: {told}")
    latest = newest(store) if streams else None
    if latest is not None and latest.kind != "rendered":
        raise ConflictError(f"{store.url}: holds a data set that was {latest.kind}; choose another folder")


def check_still_claimed(store: Store, stream: Stream) -> None:
    """Refuse to go on where another job took over the folder, which it may while nothing is recorded.

    Raises: ConflictError.
    """
    if stored_recipes(store) != [stream.stream_id]:
        raise ConflictError(f"{store.url}: another recipe took over this folder meanwhile; choose another folder")


def _withdraw(store: Store, stream_id: str) -> None:
    """Delete a claim, its recipe last: whoever is killed here withdraws it again the next time."""
    stored = read_recipe(store, stream_id)
    for name, _ in store.list("segments"):
        store.delete(name)
    for sha256 in (stored.prompts_sha256, stored.learned_sha256):
        if sha256:
            store.delete(f"sources/{sha256}")
    store.delete(f"recipes/{stream_id}.json")
