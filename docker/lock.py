"""Write docker/*.lock anew: `python docker/lock.py factory trainer`, on Linux (x86-64) with Python 3.11.

pip resolves each side within constraints.txt and tells every file's hash; nothing is installed. It reads no settings
and no cache, so that no index or wheel of this machine's own gets into a lock that others build from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WANTED = {
    "factory": [f"{ROOT}[factory,share]", "ray[default]"],  # KubeRay submits jobs through Ray's dashboard
    "trainer": [f"{ROOT}[trainer,share]"],
}
PIP = [sys.executable, "-m", "pip", "--isolated"]  # that leaves out the user's files and PIP_…, but not the machine's
INDEX = "https://pypi.org/simple"
HEAD = "# Made by docker/lock.py: every distribution of one side's image, by hash.\n"


def environment() -> dict[str, str]:
    """Return an environment in which pip reads no settings at all."""
    return {**os.environ, "PIP_CONFIG_FILE": os.devnull}


def resolve(side: str) -> dict[str, Any]:
    """Ask pip what it would install, and from which files."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
        bounds = ["--index-url", INDEX, "--no-cache-dir", "--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*PIP, *words, *bounds, *WANTED[side]], check=True, env=environment())
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found


def lock(report: dict[str, Any]) -> str:
    """Turn a report into requirements with hashes; our own package has none."""
    lines = []
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        if name != "viewmill":
            lines.append(f"{name}=={item['metadata']['version']} \\\n    --hash=sha256:{hashes['sha256']}\n")
    return HEAD + "".join(sorted(lines))


if __name__ == "__main__":
    for side in sys.argv[1:] or WANTED:
        (ROOT / "docker" / f"{side}.lock").write_text(lock(resolve(side)), encoding="utf-8")
