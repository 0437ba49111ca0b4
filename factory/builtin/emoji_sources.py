"""Fetches the openly licensed emoji drawings and their names from npm, and checks every byte.

Invariant: a tarball whose sha256 is not the pinned one is never opened.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from manifests.errors import UserError


@dataclass(frozen=True)
class Package:
    """One pinned npm package."""

    name: str
    version: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        """The name `npm pack` gives to the tarball."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


FETCH_S = 600.0  # npm has its own tries
NAMES = Package("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a", "MIT")
STYLES = {
    "noto": Package(
        name="@iconify-json/noto",
        version="1.2.9",
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        licence="Apache-2.0",
    ),
    "noto-v1": Package(
        name="@iconify-json/noto-v1",
        version="1.2.5",
        sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        licence="Apache-2.0",
    ),
    "twemoji": Package(
        name="@iconify-json/twemoji",
        version="1.2.5",
        sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        licence="CC-BY-4.0",
    ),
    "fluent-emoji-flat": Package(
        name="@iconify-json/fluent-emoji-flat",
        version="1.2.6",
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        licence="MIT",
    ),
    "fluent-emoji": Package(
        name="@iconify-json/fluent-emoji",
        version="1.2.7",
        sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        licence="MIT",
    ),
    "emojione": Package(
        name="@iconify-json/emojione",
        version="1.2.3",
        sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        licence="CC-BY-4.0",
    ),
}


@dataclass(frozen=True)
class IconSet:
    """The drawings of one style: SVG bodies by icon name, icon names by code points."""

    icons: dict[str, dict[str, Any]]
    aliases: dict[str, dict[str, Any]]
    names: dict[str, str]
    width_px: int
    height_px: int

    def find(self, candidates: list[str]) -> str | None:
        """Return the first candidate name that has a drawing, following plain aliases."""
        return next((found for name in candidates if (found := self._resolved(name))), None)

    def svg(self, name: str) -> str:
        """Return the SVG document of one drawing."""
        icon = self.icons[name]
        width, height = icon.get("width", self.width_px), icon.get("height", self.height_px)
        namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return (
            f'<svg {namespaces} width="{width}" height="{height}" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )

    def _resolved(self, name: str) -> str | None:
        if name in self.icons:
            return name
        alias = self.aliases.get(name, {})
        return alias["parent"] if set(alias) == {"parent"} and alias["parent"] in self.icons else None


@dataclass(frozen=True)
class Emoji:
    """One emoji's name and place in the Unicode lists."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str

    @cached_property
    def code_points(self) -> str:
        """The code points without variation selectors, as icon sets name them."""
        return self.hexcode.replace("-FE0F", "").lower()

    @cached_property
    def slug(self) -> str:
        """The label as an icon name."""
        plain = unicodedata.normalize("NFKD", re.sub("['’]", "", self.label)).encode("ascii", "ignore").decode()
        return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def fetch(package: Package, cache: Path) -> Path:
    """Return the checked tarball of a package, asking npm only when the cache lacks it.

    Raises: UserError where npm is missing or fails, or where the tarball is not the pinned one.
    """
    path = cache / package.file_name
    if not path.exists():
        _npm_pack(package, cache)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise UserError(f"{path} has sha256 {found}, expected {package.sha256}: remove it and run the command again")
    return path


def icon_set(tarball: Path) -> IconSet:
    """Read one iconify package."""
    icons, names = _json_member(tarball, "icons.json"), _json_member(tarball, "chars.json")
    size = icons.get("width", 16), icons.get("height", 16)
    return IconSet(icons["icons"], icons.get("aliases", {}), names, *size)


def base_emoji(tarball: Path) -> list[Emoji]:
    """List the 1,636 emoji of Unicode 16 that are neither flags nor parts of others, in Unicode's order."""
    rows, meta = _json_member(tarball, "en/data.json"), _json_member(tarball, "meta/groups.json")
    groups, subgroups = meta["groups"], meta["subgroups"]
    kept = [row for row in rows if _is_base(row, groups)]
    return [
        Emoji(
            row["hexcode"],
            row["label"],
            tuple(row.get("tags", ())),
            groups[str(row["group"])],
            subgroups[str(row["subgroup"])],
        )
        for row in sorted(kept, key=lambda row: row["order"])
    ]


def _is_base(row: dict[str, Any], groups: dict[str, str]) -> bool:
    group = groups.get(str(row.get("group")))
    return group not in (None, "component", "flags") and row["version"] <= 16


def _npm_pack(package: Package, cache: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("npm is not installed: it is needed once, to fetch the emoji drawings; install Node.js")
    cache.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", "--pack-destination", str(cache), f"{package.name}@{package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"npm has fetched {package.name} for {FETCH_S:g} s: check the network, or its proxy") from None
    if done.returncode != 0:
        raise UserError(f"npm could not fetch {package.name}@{package.version}: {done.stderr.strip() or 'no message'}")


def _json_member(tarball: Path, name: str) -> Any:
    with tarfile.open(tarball, "r:gz") as tar:
        member = tar.extractfile(f"package/{name}")
        if member is None:
            raise UserError(f"{tarball} has no file package/{name}")
        return json.load(member)
