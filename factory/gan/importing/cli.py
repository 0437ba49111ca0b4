"""`python -m factory import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PYTORCH = {".pth", ".pt", ".bin", ".tar"}


def import_weights(
    source: Annotated[
        Path,
        typer.Argument(help="NVIDIA's network.pkl, a folder of pytorch-pretrained-biggan, or BigBiGAN's .pth"),
    ],
    out: Annotated[Path, typer.Argument(help="the generator's folder, which must not exist yet")],
) -> None:
    """Convert other people's GAN weights into a generator's folder; nothing of the file is run."""
    if source.is_dir():
        from factory.gan.importing.biggan import import_biggan

        import_biggan(source, out)
    elif source.suffix in _PYTORCH:
        from factory.gan.importing.bigbigan import import_bigbigan

        import_bigbigan(source, out)
    else:
        from factory.gan.importing.nvidia import import_pickle

        import_pickle(source, out)
    print(out)
