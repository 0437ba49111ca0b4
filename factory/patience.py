"""A store that is tried again: a server's bad minute must not cost a shard that took an hour to render.

Every put may be repeated, since objects are immutable and named by content. A user's mistake is raised at once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from manifests.patience import patiently
from manifests.store import Store

WAITS_S = (1.0, 4.0, 16.0)


class PatientStore(Store):
    """A folder into which each object is put up to four times."""

    def put_file(self, local: Path, name: str) -> None:
        patiently(partial(super().put_file, local, name), WAITS_S)

    def put_bytes(self, data: bytes, name: str) -> None:
        patiently(partial(super().put_bytes, data, name), WAITS_S)

    def replace_bytes(self, data: bytes, name: str) -> None:
        patiently(partial(super().replace_bytes, data, name), WAITS_S)
