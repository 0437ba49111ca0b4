"""What licences ask of whoever uses, shares or joins images under them: short words, no legal advice. Pure.

A licence is an SPDX expression or a name. Joining is allowed where it is known to be harmless; all else is a conflict
that a person has to accept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

FREE, CREDIT, SHARE_ALIKE, NOT_COMMERCIAL, RESTRICTED = "free", "credit", "share alike", "not commercial", "restricted"

_KINDS = [  # the first that matches
    (r"CC0-1\.0|PDDL-1\.0|UNLICENSE|PUBLIC-DOMAIN", FREE),
    (r"CC-BY-NC-.*|.*NON-?COMMERCIAL.*|(LICENSEREF-)?(NVIDIA|SAI-NC)-.*", NOT_COMMERCIAL),
    (r"CC-BY-SA-.*|A?GPL-.*|LGPL-.*|ODBL-.*", SHARE_ALIKE),
    (r"CC-BY-ND-.*|.*OPENRAIL.*|.*STABILITY.*|.*COMMUNITY.*|.*RAIL.*", RESTRICTED),
    (r"CC-BY-[0-9.]+|MIT|APACHE-2\.0|BSD-.*|ISC|ODC-BY-.*|ETALAB-2\.0", CREDIT),
]
_ASKS = {
    FREE: "nothing",
    CREDIT: "name the makers and keep the notice",
    SHARE_ALIKE: "name the makers; what is made from it goes under the same licence",
    NOT_COMMERCIAL: "name the makers; no commercial use",
    RESTRICTED: "use restrictions that travel with the images: read the licence's list before you use or share them",
    "": "unknown: ask whoever made it before you use or share it",
}


def terms(licence: str | None) -> list[str]:
    """Return the single licences that an expression asks one to keep, in order."""
    parts = re.split(r"\s+AND\s+|[()]", licence or "", flags=re.IGNORECASE)
    return sorted({part.strip() for part in parts if part.strip() and part.strip().lower() != "unknown"})


def kind(term: str) -> str:
    """Return what sort of licence this is; "" for one that is not known."""
    return next((kind for form, kind in _KINDS if re.fullmatch(form, term.upper())), "")


def asks(licence: str | None) -> str:
    """Say what a licence asks of users; several add up."""
    kinds = {kind(term) for term in terms(licence)} or {""}
    return "; ".join(text for name, text in _ASKS.items() if name in kinds and (name != FREE or kinds == {FREE}))


def joined(licences: Sequence[str | None]) -> str | None:
    """Return the licence of images under all of these together, None if none is known."""
    found = sorted({term for licence in licences for term in terms(licence)})
    return " AND ".join(found) or None


def conflicts(licences: Iterable[str | None]) -> list[str]:
    """Say why images under these licences should not simply be joined; nothing where that is harmless."""
    different = list(dict.fromkeys(licences))
    if len(different) < 2:
        return []
    kinds = {term: kind(term) for licence in different for term in terms(licence)}
    found = ["a data set without a known licence"] if not all(map(terms, different)) else []
    found += [f"{term} is not known" for term, name in kinds.items() if not name]
    alike = sorted(term for term, name in kinds.items() if name == SHARE_ALIKE)
    if len(alike) > 1:
        found.append(f"{' and '.join(alike)} each ask for themselves alone")
    strict = sorted(term for term, name in kinds.items() if name in (NOT_COMMERCIAL, RESTRICTED))
    others = sorted(set(kinds) - set(strict))
    found += [f"{term} restricts what {', '.join(others)} would allow" for term in strict if others]
    return found + ([f"{' and '.join(strict)} restrict different things"] if len(strict) > 1 else [])
