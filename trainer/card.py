"""The card of an exported encoder: what it is, what it was trained on, how it is loaded. Pure.

Everything in it stands in viewmill.json and config.json too; those are for machines, this is for people and model hubs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from manifests.card import escaped, licence_entry

Values = Mapping[str, Any]


def readme(provenance: Values, timm_config: Values, parameters: int) -> str:
    """Write README.md; `provenance` is what viewmill.json holds, and may lack what is not known."""
    head = yaml.safe_dump(_front_matter(provenance, timm_config), sort_keys=False, width=120)
    return "\n".join([f"---\n{head}---", *_body(provenance, timm_config, parameters)]) + "\n"


def _front_matter(provenance: Values, timm_config: Values) -> dict[str, Any]:
    licences = {one.get("licence") for one in provenance.get("data_sets", [])}
    return {
        **({} if "split" in timm_config else {"library_name": "timm"}),
        "pipeline_tag": "image-feature-extraction",
        **(licence_entry(licences.pop()) if len(licences) == 1 else {}),
        "tags": ["viewmill", "self-supervised", _method(provenance)],
    }


def _body(provenance: Values, timm_config: Values, parameters: int) -> Iterator[str]:
    config, pixels = provenance.get("config", {}), timm_config["pretrained_cfg"]
    yield f"# {timm_config['architecture']} by {_method(provenance)}\n"
    yield f"An image encoder of {parameters:,} parameters and {timm_config['num_features']} features, pretrained"
    yield f"with ViewMill's {_method(provenance)} on {provenance.get('images_seen', 0):,} images as they came,"
    yield f"each counted as often as it was drawn.{_average(config)}\n"
    side = pixels["input_size"][-1]
    yield f"Input: RGB in 0 … 1, {side} px, bicubic, mean {pixels['mean']}, std {pixels['std']}.\n"
    yield _SPLIT_LOADING if "split" in timm_config else _LOADING
    yield from _data(provenance.get("roots", []), provenance.get("data_sets", []))
    yield from _scores(provenance.get("scores", {}), config.get("probe") or {})
    yield f"## Config\n\n```yaml\n{yaml.safe_dump(dict(config), sort_keys=False, width=120)}```\n"
    yield f"Code: {provenance.get('code') or 'not a checkout'}; order of the data: {provenance.get('order_version')}.\n"


def _method(provenance: Values) -> str:
    return str(provenance.get("config", {}).get("objective", {}).get("name", "pretraining"))


def _average(config: Values) -> str:
    half_life = config.get("ema_half_life_images")
    return f" The weights are an average with a half-life of {half_life:,} images." if half_life else ""


def _data(roots: Sequence[str], data_sets: Sequence[Values]) -> Iterator[str]:
    """Name the versions by their roots, which cover every pixel, prompt and label."""
    if not roots:
        return
    yield "## Data\n\n| root | name | licence | groups | images |\n|---|---|---|---|---|"
    for root, one in zip(roots, data_sets or [{}] * len(roots), strict=True):
        name, licence = (escaped(str(one.get(key) or "not said")).replace("|", r"\|") for key in ("name", "licence"))
        yield f"| `{root}` | {name} | {licence} | {one.get('groups', '')} | {one.get('images', '')} |"
    yield "\nA data set's licence says on what terms its images may be used; what follows for weights is not settled.\n"


def _scores(scores: Values, probe: Values) -> Iterator[str]:
    if scores:
        yield f"## Scores\n\nWhile it learned, on `{probe.get('set')}` (dev), balanced accuracy without tuning:\n"
        yield "\n".join(f"- {name}: {value:.3f}" for name, value in sorted(scores.items()))
        yield "\n`python -m trainer evaluate` scores it with intervals, beside baselines.\n"


_LOADING = """## Use

```python
import timm
from PIL import Image

model = timm.create_model("local-dir:PATH", pretrained=True).eval()  # or "hf-hub:USER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
features = model(transform(Image.open("image.png").convert("RGB"))[None])
```

`heads.safetensors` holds the method's other weights under their names in training, `viewmill.json` what made them;
`encoder.onnx`, where it was asked for, takes normalised images as `images` and gives `features`.
"""

_SPLIT_LOADING = """## Use

Two backbones, for a colour space's first and other channels, which timm has no name for:

```python
from PIL import Image
import numpy as np
from trainer.embed import embed_images
from trainer.encoders import load_encoder

encoder, _ = load_encoder("PATH")
features = embed_images(encoder, [np.asarray(Image.open("image.png").convert("RGB"))])
```
"""
