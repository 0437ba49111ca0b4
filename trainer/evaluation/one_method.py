"""Whether runs may stand for one method: their training seeds differ, and nothing else that decides weights does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifests.errors import ConflictError, UserError
from trainer.config import differences, parse_config
from trainer.exported import export_folder

_REMEDY = "compare runs of one method, each trained with its own --set seed=N"


def check_seeds_alone(checkpoints: Sequence[str | Path]) -> None:
    """Check that config, data, order and length are the same and the seeds are not.

    Raises: ConflictError naming each key that differs, or the runs that share a seed.
    """
    runs = {str(path): _decided(path) for path in checkpoints}
    first, before = next(iter(runs.items()))
    for name, facts in runs.items():
        if lines := differences(before, facts):
            raise ConflictError(f"{name} differs from {first} in more than the seed ({'; '.join(lines)}); {_REMEDY}")
    seeds = [read_provenance(path)["config"]["seed"] for path in checkpoints]
    if len(set(seeds)) < len(seeds):
        raise ConflictError(f"the runs have seeds {', '.join(map(str, seeds))}; expected a seed of its own for each")


def remark_on_code(checkpoints: Sequence[str | Path]) -> str | None:
    """Say so where the runs were begun by other commits: that may be a page of documentation, or another method."""
    commits = {str(path): str(read_provenance(path).get("code"))[:12] for path in checkpoints}
    if len(set(commits.values())) < 2:
        return None
    return f"begun by different code: {', '.join(f'{name} by {commit}' for name, commit in commits.items())}"


def read_provenance(checkpoint: str | Path) -> dict[str, Any]:
    """Read what an exported encoder says about its run.

    Raises: UserError where it says nothing.
    """
    path = export_folder(Path(checkpoint)) / "viewmill.json"
    try:
        facts = json.loads(path.read_text())
        facts["config"]["seed"], facts["roots"], facts["order_version"], facts["images_seen"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} does not say how the encoder was trained; expected what pretrain wrote") from None
    return dict(facts)


def _decided(checkpoint: str | Path) -> dict[str, Any]:
    facts = read_provenance(checkpoint)
    config = parse_config(facts["config"], str(checkpoint)).identity()
    del config["seed"]
    return {"config": config, **{key: facts[key] for key in ("roots", "order_version", "images_seen")}}
