"""Tiny generators, opened once a session for each setting."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from factory.generators import ViewRequest, open_generator
from tests.factory import tiny


@cache
def opened(layout: str, changes: tuple[tuple[str, Any], ...]) -> Any:
    return open_generator(tiny.source(layout, **{key: dict(v) if isinstance(v, tuple) else v for key, v in changes}))


@pytest.fixture(scope="session")
def open_tiny() -> Callable[..., Any]:
    """Open a tiny layout; a mapping is given as a tuple of pairs."""
    return lambda layout, **changes: opened(layout, tuple(sorted(changes.items())))


@pytest.fixture(scope="session")
def views() -> Callable[..., list[ViewRequest]]:
    """Make requests whose seeds count up from 100 and whose prompts alternate."""

    def make(count: int, *, first: int = 0, negative: str = "", guidance_scale: float = 5.0) -> list[ViewRequest]:
        prompts = ("a red cat", "two blue dogs on a hill", "")
        return [
            ViewRequest(i // 2, i % 2, 0, 100 + i, prompts[i % 3], negative, guidance_scale)
            for i in range(first, first + count)
        ]

    return make
