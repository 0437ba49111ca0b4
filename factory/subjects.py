"""What a group shows: a row of the prompts for a source that reads, a class for one that does not; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from factory.generators.latent_config import Classes, LatentSource
from factory.prompt_rows import PromptRow, PromptTable
from factory.prompts import row_of_group
from factory.recipe import Recipe
from manifests import seeds
from manifests.errors import UserError


@dataclass(frozen=True)
class Asked:
    """The classes that a source is asked for, and the data set's label of each."""

    class_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Subjects:
    """The prompts of a recipe, and the classes of its latent sources by their number."""

    prompts: PromptTable | None
    asked: tuple[Asked | None, ...]
    label_names: tuple[str, ...]

    @property
    def extra_types(self) -> dict[str, pa.DataType]:
        """Return the types of the user's own columns."""
        return self.prompts.extra_types if self.prompts else {}

    def row(self, recipe: Recipe, source: int, group: int) -> PromptRow:
        """Return what a group shows."""
        config = recipe.sources[source]
        if isinstance(config, LatentSource):
            return _class_row(self.asked[source], config.classes, recipe.seed, group)
        assert recipe.prompts is not None
        assert self.prompts is not None
        return self.prompts.row(row_of_group(recipe.prompts.order, recipe.seed, group, len(self.prompts)))


def subjects_of(recipe: Recipe, prompts: PromptTable | None, class_names: Sequence[tuple[str, ...]]) -> Subjects:
    """Lay out what a recipe's sources can show; a class's label is that of its name.

    Raises: UserError for a class that a generator does not have.
    """
    if prompts and prompts.has_number_labels and any(class_names):
        raise UserError("prompts: their labels are numbers, but a source's classes have names; give the labels' names")
    names = list(prompts.label_names if prompts else ())
    names += [name for known in class_names for name in known if name not in names]
    names = list(dict.fromkeys(names))
    asked = [
        _asked(source, known, names) if isinstance(source, LatentSource) and known else None
        for source, known in zip(recipe.sources, class_names, strict=True)
    ]
    return Subjects(prompts, tuple(asked), tuple(names))


def _asked(source: LatentSource, known: tuple[str, ...], names: list[str]) -> Asked:
    wanted = range(len(known)) if source.classes.only is None else source.classes.only
    class_ids = tuple(_class_id(source.model, one, known) for one in wanted)
    return Asked(class_ids, tuple(names.index(known[class_id]) for class_id in class_ids))


def _class_id(model: str, wanted: int | str, known: tuple[str, ...]) -> int:
    if isinstance(wanted, int) and 0 <= wanted < len(known):
        return wanted
    if wanted in known:
        return known.index(str(wanted))
    from manifests.settings import nearest

    hint = nearest(str(wanted), known) if len(known) <= 20 or isinstance(wanted, str) else ""
    raise UserError(f"classes.only: {model} has no class {wanted!r}; it has {len(known)}, from 0{hint[:300]}")


def _class_row(asked: Asked | None, classes: Classes, seed: int, group: int) -> PromptRow:
    if asked is None:
        return PromptRow(prompt="", prompt_id=None)
    count = len(asked.class_ids)
    if classes.order == "sampled":
        place = int(seeds.integers(seeds.group_seed(seed, group), "class", count, 1)[0])
    else:
        place = row_of_group("shuffled", seed, group, count)
    return PromptRow(prompt="", prompt_id=None, class_id=asked.class_ids[place], label=asked.labels[place])
