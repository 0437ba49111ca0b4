"""Which machine this is, as far as a number needs it beside it; nothing in it names its owner."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware() -> dict[str, str]:
    """Describe processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": f"{cores} cores", "memory": f"{memory / 2**30:.0f} GiB"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
