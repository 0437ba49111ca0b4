"""Numbers as the page writes them: each stands in a `data` element with its key in report.json and its whole value."""

from __future__ import annotations

from demo.facts import Difference, Score
from demo.markup import Markup, element

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def percent(fraction: float) -> str:
    """Write a fraction as a percentage with one decimal."""
    return f"{100 * fraction:.1f}{NBSP}%"


def duration(seconds: float) -> str:
    """Write a time as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(key: str, value: int) -> Markup:
    """Show a whole number."""
    return _number(key, value, f"{value:,}")


def fraction(key: str, value: float) -> Markup:
    """Show a fraction as a percentage."""
    return _number(key, value, percent(value))


def memory(key: str, size_bytes: int) -> Markup:
    """Show bytes as gibibytes."""
    return _number(key, size_bytes, gibibytes(size_bytes))


def gibibytes(size_bytes: int) -> str:
    """Write bytes as gibibytes with one decimal."""
    return f"{size_bytes / 2**30:.1f}{NBSP}GiB"


def rate(key: str, value: float) -> Markup:
    """Show images a second."""
    return _number(key, value, f"{value:.1f} images/s")


def points(key: str, value: float) -> Markup:
    """Show a difference between fractions, with its sign, in percentage points."""
    return _number(key, value, f"{_signed(value)}{NBSP}points")


def interval(key: str, score: Score) -> Markup:
    """Show a score's bounds as percentages."""
    low = _number(f"{key}.low", score.low, f"{100 * score.low:.1f}")
    high = _number(f"{key}.high", score.high, f"{100 * score.high:.1f}")
    return element("span", low, " to ", high, f"{NBSP}%", class_="nowrap")


def signed_interval(key: str, score: Difference) -> Markup:
    """Show a difference's bounds, with their signs, in percentage points."""
    low = _number(f"{key}.low", score.low, _signed(score.low))
    high = _number(f"{key}.high", score.high, _signed(score.high))
    return element("span", low, " to ", high, class_="nowrap")


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", MINUS)


def _number(key: str, value: float, text: str) -> Markup:
    return element("data", text, value=value, data_key=key)
