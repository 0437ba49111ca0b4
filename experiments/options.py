"""Options that several experiments have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manifests.target import local_path

Out = Annotated[Path, typer.Option(parser=local_path, help="Folder of data sets, runs and results")]
Config = Annotated[str, typer.Option(help="How to train: a preset or a YAML file")]
Images = Annotated[int, typer.Option(min=1, help="Length of each training run")]
Seeds = Annotated[int, typer.Option(min=3, help="Training seeds of each arm")]
Jobs = Annotated[int, typer.Option(min=1, help="Commands side by side")]
Split = Annotated[str, typer.Option(help="dev or test")]
