"""One JSON line a happening, on stderr: what a log collector reads, with run, worker, shard and attempt."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any


def log(is_wanted: bool, event: str, facts: Mapping[str, Any]) -> None:
    """Write one line; in a Ray actor it goes to the worker's own log file, which Ray's dashboard shows."""
    if is_wanted:
        print(json.dumps({"at_s": round(time.time(), 3), "event": event, **facts}), file=sys.stderr, flush=True)
