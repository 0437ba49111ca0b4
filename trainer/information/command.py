"""The command `mi` of `python -m trainer`: a line for each kind of views, JSON for scripts."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.errors import UserError
from manifests.target import check_file, local_path, replaced

if TYPE_CHECKING:
    from trainer.information.estimate import Measured


def mi(
    data: Annotated[str, typer.Argument(help="data set folder or URL")],
    view: Annotated[
        list[str],
        typer.Option(
            help="views, image, patch:PX, split:SPACE, flow:FOLDER or frequency:PX; views and image take "
            "augmentation=PRESET,crop=SHARE,jitter=STRENGTH behind a colon. May be given again"
        ),
    ],
    groups: Annotated[int, typer.Option(min=4, help="groups at most; a quarter of them is held out")] = 4096,
    batch: Annotated[int, typer.Option(min=2, help="K: I_NCE cannot exceed log K")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="of a critic")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="critics of each kind of views")] = 1,
    size_px: Annotated[int, typer.Option(min=8, max=512, help="side of a view")] = 32,
    width: Annotated[int, typer.Option(min=8, max=256, help="of the critic, a multiple of 8")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of lines")] = False,
    out: Annotated[Path | None, typer.Option(parser=local_path, help="also write the JSON to this file")] = None,
) -> None:
    """Measure how much two views share, in nats: I_NCE on held-out groups, NWJ and SMILE beside it.

    Numbers are comparable where data size, batch, epochs, size and width are the same.
    """
    if width % 8:
        raise UserError(f"--width is {width}; expected a multiple of 8")
    if out:
        check_file(out)
    import torch

    from manifests.dataset import open_dataset
    from trainer.information.estimate import measure
    from trainer.information.pairs import view_pair
    from trainer.information.pool import Setting

    pairs = [view_pair(text) for text in view]
    setting = Setting(groups, batch, epochs, seeds, size_px, width)
    dataset = open_dataset(data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    for pair in pairs:
        print(f"measuring {pair.name}", file=sys.stderr, flush=True)
        found.append(measure(dataset, pair, setting, device))
        _tell(found[-1], as_json)
    text = json.dumps([one.to_dict() for one in found], indent=1)
    if as_json:
        print(text)
    if out:
        with replaced(out) as part:
            part.write_text(text + "\n", encoding="utf-8")


def _tell(found: "Measured", as_json: bool) -> None:
    if not as_json:
        bounds = ", ".join(f"{name} {m:.2f} [{low:.2f}, {high:.2f}]" for name, (m, low, high) in found.nats.items())
        sides = f"in training {found.training_nats:.2f}, {found.held_out_images} held-out groups"
        print(f"{found.view}: {bounds} nats; ceiling of i_nce {found.ceiling_nats:.2f}; {sides}")
    for warning in found.warnings():
        print(f"warning: {warning}", file=sys.stderr, flush=True)
