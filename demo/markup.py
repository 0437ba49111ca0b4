"""HTML and SVG as nested calls: whatever is not Markup already is escaped, so that a prompt can never become a tag."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID_TAGS = frozenset({"br", "img", "line", "link", "meta", "polyline"})


class Markup(str):
    """Text that is HTML already; only `element` and `raw` make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attribute: TypeAlias = "str | int | float | bool | None"


def element(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """Build one element; `class_` and `data_key` mean `class` and `data-key`; None and False leave an attribute out."""
    opening = "".join([tag, *(_attribute(name, value) for name, value in attributes.items())])
    if tag in VOID_TAGS:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(children)}</{tag}>")


def join(children: Child) -> Markup:
    """Escape and concatenate text, numbers, elements and lists of them."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return Markup(escape(str(children)))
    return Markup("".join(join(child) for child in children))


def raw(text: str) -> Markup:
    """Mark the project's own text (never a user's) as needing no escape: the style sheet, the doctype."""
    return Markup(text)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
