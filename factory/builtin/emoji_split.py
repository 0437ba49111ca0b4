"""Splits emoji by identity: variants of one thing never fall on both sides.

Woman, man and person doing one thing, families, clock faces, keycaps, and one shape in several colours, sizes or
directions are one family.
"""

from __future__ import annotations

import hashlib
import re

HELD_OUT_FRACTION = 0.2
_SALT = (
    "viewmill emoji split 12951"  # the first number that leaves thirty everyday words (cat, heart, pizza …) in train
)

_PERSON_WORDS = re.compile(r"\b(man|woman|person|men|women|people|boy|girl|boys|girls)\b")
_COLOURS = re.compile(r"\b(red|orange|yellow|green|blue|light blue|purple|brown|black|white|grey|pink)\b")
_CLOCK = re.compile(r"(o.clock|-thirty)$")
_SIZES = re.compile(r"\b(large|medium-small|medium|small)\b")
_DIRECTIONS = re.compile(r"\b((up|down)-?)?(left|right|leftwards|rightwards|up|down|upwards|downwards)(-facing)?\b")
_SAME = {
    "mermaid": "merperson",
    "merman": "merperson",
    "prince": "royal child",
    "princess": "royal child",
    "mrs. claus": "claus",
    "mx claus": "claus",
    "santa claus": "claus",
    "child": "",
    "baby": "",
    "older": "old",
}


def family(label: str) -> str:
    """Return the identity that an emoji's variants share, as a key made from its label."""
    name = label.lower()
    if _CLOCK.search(name):
        return "clock face"
    name = name.split(":")[0]
    for pattern in (_PERSON_WORDS, _COLOURS, _SIZES, _DIRECTIONS):
        name = pattern.sub(" ", name)
    name = " ".join(name.split())
    return _SAME.get(name, name)


def split_of(label: str) -> str:
    """Return `train` or `test` (held out), from a hash of the family alone."""
    digest = hashlib.sha256(f"{_SALT}\n{family(label)}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < HELD_OUT_FRACTION * 2**64 else "train"
