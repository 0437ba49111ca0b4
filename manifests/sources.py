"""What is to be adopted: a folder of images, WebDataset tars, or Parquet files with images in them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from manifests.errors import UserError
from manifests.foreign_parquet import read_parquets
from manifests.foreign_tar import read_tars
from manifests.table import SUFFIXES, Columns, Listing, read_entries


def read_source(
    source: Path, table: Path | None, columns: Columns, label_names: Sequence[str] | None, spool: Path
) -> Listing:
    """List the images of a source, by what it is; images of Parquet files are laid down in the folder `spool`.

    Raises: UserError naming the file that is wrong, or what was found instead.
    """
    if table is not None:
        return read_entries(source, table, columns, label_names)
    files = _files(source)
    if not files:
        return read_entries(source, None, columns, label_names)
    base = Path(os.path.commonpath([path.parent for path in files]))
    if files[0].suffix == ".tar":
        return read_tars(files, base, columns, label_names)
    return read_parquets(files, base, columns, label_names, spool)


def _files(source: Path) -> list[Path]:
    """Return the tars or Parquet files that a folder, a name or a pattern means; none for a folder of images."""
    if source.is_dir():
        if (source / "dataset.json").is_file() and (source / "versions").is_dir():
            raise UserError(f"{source}: is a ViewMill data set already")
        found = [path for path in _visible(source) if path.suffix in (".tar", ".parquet")]
        if found and any(path.suffix.lower() in SUFFIXES for path in _visible(source)):
            return []
    else:
        found = sorted(map(Path, glob.glob(str(source), recursive=True)))
        other = [path for path in found if path.suffix not in (".tar", ".parquet")]
        if other or not found:
            told = f"{other[0].name}: expected" if other else "there is no such folder of images,"
            raise UserError(f"{source}: {told} .tar or .parquet")
    kinds = {path.suffix for path in found}
    if len(kinds) > 1:
        raise UserError(f"{source}: there are tars and Parquet files: name those you mean, such as {source / '*.tar'}")
    return found


def _visible(source: Path) -> list[Path]:
    paths = [path for path in source.rglob("*") if path.is_file()]
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(source).parts))
