"""Data out of Debian packages of one exact version: installed, or downloaded by apt, checked by hash and unpacked."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from manifests.errors import UserError

QUERY_S = 60.0
RUN_S = 1800.0  # to download or unpack one package
Packages = Mapping[str, tuple[str, str]]  # name -> version, sha256


def folder_of(packages: Packages, inside: Path, scratch: Path, *, system: Path = Path("/")) -> Path:
    """Return a folder of packages: where they are installed in these very versions, else unpacked in `scratch`.

    Raises: as `unpack` does.
    """
    if (system / inside).is_dir() and all(_installed(name) == version for name, (version, _) in packages.items()):
        return system / inside
    unpack(packages, scratch)
    return scratch / inside


def _installed(name: str) -> str | None:
    """Return the version of an installed package."""
    try:
        command = ["dpkg-query", "--show", "--showformat=${Version}", name]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=QUERY_S).stdout
    except (FileNotFoundError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def unpack(packages: Packages, scratch: Path) -> None:
    """Download, check and unpack packages into `scratch`, as if it were the root of a system.

    Raises: UserError where apt is missing or a package is not the one that was checked.
    """
    for name, (version, sha256) in packages.items():
        _run(["apt-get", "download", f"{name}={version}"], scratch)
        archive = next(scratch.glob(f"{name}_*.deb"))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            raise UserError(f"{archive.name} has sha256 {found}, expected {sha256}: the mirror serves another build")
        _run(["dpkg", "-x", archive.name, "."], scratch)


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=RUN_S)
    except FileNotFoundError:
        raise UserError(f"{command[0]} not found: this set is built on Debian or Ubuntu") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"`{' '.join(command)}` has not ended in {RUN_S:g} s: check the network") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"`{' '.join(command)}` failed: {reason[0]} (try `apt-get update` first)") from None
