"""Prompts from templates such as "a {colour} {object}" and a list of words for each name in braces. Pure."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping

import pyarrow as pa

from factory.prompt_rows import PromptRow
from manifests.canonical import canonical_json, sha256_hex


class TemplatePrompts:
    """Every way to fill every template, counted through as one long list: the last word turns fastest."""

    label_names: tuple[str, ...] = ()
    has_number_labels = False

    def __init__(self, templates: tuple[str, ...], words: Mapping[str, tuple[str, ...]]) -> None:
        self._templates, self._words = templates, words
        self._id_prefix = sha256_hex(canonical_json([list(templates), {k: list(v) for k, v in words.items()}]))[:8]
        self._names = [_placeholders(template) for template in templates]
        self._sizes = [math.prod(len(words[name]) for name in names) for names in self._names]
        self.extra_types: dict[str, pa.DataType] = {f"x_{name}": pa.string() for name in sorted(words)}

    def __len__(self) -> int:
        return sum(self._sizes)

    def row(self, index: int) -> PromptRow:
        """Fill one template with one choice of words, which also become columns of the user's."""
        chosen, remainder = 0, index
        while remainder >= self._sizes[chosen]:
            remainder -= self._sizes[chosen]
            chosen += 1
        words: dict[str, str] = {}
        for name in reversed(self._names[chosen]):
            remainder, position = divmod(remainder, len(self._words[name]))
            words[name] = self._words[name][position]
        extra = {column: words.get(column.removeprefix("x_")) for column in self.extra_types}
        return PromptRow(self._templates[chosen].format(**words), f"{self._id_prefix}-{index}", extra=extra)


def _placeholders(template: str) -> list[str]:
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name is not None))


def check_templates(templates: tuple[str, ...], words: Mapping[str, tuple[str, ...]]) -> None:
    """Check that every placeholder has words and every word list a placeholder.

    Raises: ValueError saying what was expected.
    """
    used = {name for template in templates for name in _placeholders(template)}
    odd = [name for name in used if not name.isidentifier()]
    if odd:
        raise ValueError(f"plain names in the braces of templates, found {{{odd[0]}}}")
    missing, idle = sorted(used - words.keys()), sorted(words.keys() - used)
    if missing:
        raise ValueError(f"a word list for {{{missing[0]}}} under prompts.words")
    if idle or any(not words[name] for name in used):
        name = idle[0] if idle else next(name for name in used if not words[name])
        raise ValueError(
            f"every word list to be used and not empty; {name} is {'used by no template' if idle else 'empty'}"
        )
