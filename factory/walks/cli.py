"""`python -m factory train-walks, measure-walks, train-navigator, measure-navigator`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="a generator's folder, package:name or builtin:name")]
Out = Annotated[Path, typer.Argument(help="the .safetensors file; the run's files lie beside it in a folder .run")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key, as in images=20000")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, one object a line")]


def train_walks(
    model: Model,
    out: Out,
    imitate: Annotated[str | None, typer.Option(help="genrep: camera and colour; simclr: jitter and crop")] = None,
    space: Annotated[str | None, typer.Option(help="where a walk is a vector: z, w, w+")] = None,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the config and stop")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn walks through a generator's latent space, measure them, and write those that do what they should."""
    from factory.walks.config import WalksConfig, configured

    asked = [f"{name}={value}" for name, value in (("imitate", imitate), ("space", space)) if value is not None]
    config = configured(WalksConfig, [*asked, *(changes or [])])
    if dry_run:
        print(config.model_dump_json(indent=2))
        return
    from factory.walks.folder import stoppable
    from factory.walks.train_walks import WalksRun

    with stoppable(out):
        measured = WalksRun(model, out, config, _progress(as_json)).go()
    if as_json:
        print("\n".join(json.dumps(one.to_json()) for one in measured))
    else:
        print(out)


def measure_walks(
    model: Model,
    file: Annotated[Path, typer.Argument(help="what train-walks wrote")],
    images: Annotated[int, typer.Option(min=16, help="held-out anchors for each walk")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="of the held-out latents")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure what walks do to images of held-out latents; exit code 3 if one does not do what its name says."""
    from factory.walks.file import parse_learned, read_bytes

    learned = parse_learned(read_bytes(file, "walks"), "walks", str(file))
    from factory.walks.frozen import open_learned
    from factory.walks.measure import measure_walks as measure
    from factory.walks.train_walks import told

    frozen = open_learned(model, learned, str(file))
    measured = measure(frozen, learned, seed=seed, images=images)
    for one in measured:
        print(json.dumps(one.to_json()) if as_json else told(one))
    if not all(one.passes for one in measured):
        raise typer.Exit(3)


def train_navigator(
    model: Model,
    out: Out,
    sigma: Annotated[float | None, typer.Option(help="length of the step over √D, in τ")] = None,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the config and stop")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn a navigator against an encoder, compare it with the Gaussian by held-out ones, and write it if it wins."""
    from factory.walks.config import NavigatorConfig, configured

    config = configured(NavigatorConfig, [*([] if sigma is None else [f"sigma={sigma}"]), *(changes or [])])
    if dry_run:
        print(config.model_dump_json(indent=2))
        return
    from factory.walks.folder import stoppable
    from factory.walks.train_navigator import NavigatorRun, told

    with stoppable(out):
        found = NavigatorRun(model, out, config, _progress(as_json)).go()
    print(json.dumps(found) if as_json else f"{told(found)}\n{out}")


def measure_navigator(
    model: Model,
    file: Annotated[Path, typer.Argument(help="what train-navigator wrote")],
    seed: Annotated[int, typer.Option(min=0, help="of held-out latents and encoders")] = 1,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key, as in estimator.seeds=5")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure I_NCE of a navigator's views and of Gaussian ones by fresh encoders; exit code 3 if it is no lower."""
    from factory.walks.config import NavigatorConfig, configured
    from factory.walks.file import parse_learned, read_bytes

    learned = parse_learned(read_bytes(file, "navigator"), "navigator", str(file))
    config = configured(NavigatorConfig, [f"seed={seed}", *(changes or [])])
    from factory.walks.frozen import open_learned
    from factory.walks.train_navigator import compare_with_gaussian, told

    found = compare_with_gaussian(open_learned(model, learned, str(file)), learned, config)
    print(json.dumps(found) if as_json else told(found))
    if not found["lowers"]:
        raise typer.Exit(3)


def _progress(as_json: bool) -> Callable[[str], None]:
    """Return where lines of progress go: beside JSON they would be in its way."""
    return lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True)
