"""Where a view's shards lie: `places.json` names the data sets that hold them, and no hash covers it.

It may be wrong or old: whatever is found by it is checked by size and hash like any object. A place on the same disk or
in the same bucket is kept as a relative path, so that a view and its source may move together.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Sequence

from manifests.canonical import canonical_json
from manifests.errors import CorruptError, StoreError, UserError
from manifests.store import Store, check_url

PLACES = "places.json"
_MOST_PLACES = 100


class Homes:
    """Finds the folder that an object lies in: the data set's own, or the first place that has it."""

    def __init__(self, own: Store, places: Sequence[str] = ()) -> None:
        self._stores = {own.url: own}
        self.urls = [own.url, *(resolved(own.url, place) for place in places)]
        self._found: dict[str, Store] = {}
        self._opener = type(own)

    def of(self, name: str) -> Store:
        """Return the store that holds an object.

        Raises: CorruptError if none does.
        """
        if len(self.urls) == 1:
            return self._stores[self.urls[0]]
        if name not in self._found:
            self._found[name] = self._search(name)
        return self._found[name]

    def _search(self, name: str) -> Store:
        unreachable = []
        for url in self.urls:
            try:
                store = self.store(url)
            except (UserError, StoreError) as error:
                unreachable.append(str(error))
                continue
            if store.exists(name):
                return store
        told = "; ".join(unreachable) or "looked in " + ", ".join(self.urls)
        raise CorruptError(
            f"{self.urls[0]}: {name} is in none of its places ({told}): run `python -m manifests select` again, "
            "from where the source lies now"
        )

    def store(self, url: str) -> Store:
        """Open a place, once.

        Raises: UserError if it cannot be reached.
        """
        if url not in self._stores:
            self._stores[url] = self._opener.open(url)
        return self._stores[url]


def read_places(store: Store) -> list[str]:
    """Return the places that a view names, as they are written.

    Raises: CorruptError if the file is absent or no list of plain paths and URLs.
    """
    where = f"{store.url}/{PLACES}"
    try:
        document = json.loads(store.get_bytes(PLACES))
        places = document["places"]
        if not isinstance(places, list) or len(places) > _MOST_PLACES:
            raise ValueError(f"expected at most {_MOST_PLACES} places")
        return [_checked(place) for place in places]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{where} is no list of places: {error}") from error


def _checked(place: object) -> str:
    """Refuse fsspec's chains: a data set from elsewhere is not to choose which code reads it."""
    if not isinstance(place, str) or "::" in place or not place.isprintable():
        raise ValueError(f"{place!r} is no path or URL")
    check_url(place)
    return place


def write_places(store: Store, urls: Sequence[str]) -> None:
    """Replace the places of a view."""
    places = [relative(store.url, url) for url in urls]
    store.replace_bytes(canonical_json({"places": [_checked(place) for place in places]}), PLACES)


def relative(own: str, url: str) -> str:
    """Return `url` as seen from the folder `own`, if both are on the disk or in one bucket, else as it is.

    Raises: UserError for one that is no plain path or URL.
    """
    (scheme, base), (other, path) = _split(own), _split(url)
    if scheme != other or (scheme and base.split("/")[0] != path.split("/")[0]):
        return url
    return posixpath.relpath(path, base)


def resolved(own: str, place: str) -> str:
    """Return the URL of a place that was written in the folder `own`."""
    scheme, base = _split(own)
    if "://" in place or place.startswith("/"):
        return place
    path = posixpath.normpath(posixpath.join(base, place))
    return f"{scheme}{path}" if scheme else path


def _split(url: str) -> tuple[str, str]:
    """Return (scheme with ://, path); a local path has no scheme and becomes absolute."""
    scheme, mark, path = url.rpartition("://")
    if scheme in ("", "file", "local"):
        return "", os.path.realpath(path)
    return scheme + mark, path.rstrip("/")
