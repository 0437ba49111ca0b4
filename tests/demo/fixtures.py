"""A made-up demo: a report, pictures and curves with which the page can be looked at and tested without a model."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from demo.facts import Difference, LabelledSet, Pretraining, Rendering, Report, Score
from demo.pictures import Exhibits, NeighbourRow, Picture, SampleGroup

HOSTILE = "<script>alert('x')</script> \"><img src=https://example.org/x onerror=alert(1)> & ünïcode 🍕"
PROMPTS = [
    "pizza",
    "red heart",
    "cat face with wry smile",
    "sailboat",
    HOSTILE,
    "snow-capped mountain",
    "violin",
    "bus",
]
CLASSES = ["bird", "music", "fruit_veg", "vehicle", "flag", "star"]


def picture(seed: int, label: str) -> Picture:
    """Draw one coloured blob as a PNG data: URI."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64] / 63
    centre, colour = random.uniform(0.35, 0.65, 2), random.integers(30, 220, 3)
    angle = np.arctan2(y - centre[0], x - centre[1])
    radius = 0.28 + 0.08 * np.sin(angle * random.integers(2, 7))
    inside = (np.hypot(y - centre[0], x - centre[1]) < radius)[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.where(inside, colour, 255).astype(np.uint8)).save(buffer, "PNG")
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), label)


def score(mean: float, half: float = 0.031) -> Score:
    return Score(mean=mean, low=mean - half, high=mean + half, n=1204)


def difference(mean: float, half: float, seeds: int = 1) -> Difference:
    low, high = mean - half, mean + half
    return Difference(
        mean=mean,
        low=low,
        high=high,
        smallest_detectable=1.43 * half,
        signs_agree=True,
        seeds=seeds,
        is_evidence=seeds >= 3 and low > 0,
    )


def report() -> Report:
    """Build a report whose numbers are all different, so that a number in the wrong place shows."""
    means = {
        "encoder": (0.4127, 0.3904),
        "random": (0.3119, 0.3012),
        "pixels": (0.3722, 0.3855),
        "imagenet": (0.6418, 0.5933),
    }
    return Report(
        date="2026-01-31T12:00:00+00:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        root="5be1a7" + "0f" * 29,
        stream_ids=["91c2d3" + "a4" * 29],
        generators=["builtin:emoji-diffusion"],
        config_sha256="77" * 32,
        encoder_sha256="c0ffee" + "12" * 29,
        test_set=LabelledSet(name="clipart26", split="dev", root="dd" * 32, images=1204, classes=26),
        chance=1 / 26,
        results={name: {"linear": score(linear), "knn": score(knn)} for name, (linear, knn) in means.items()},
        differences={
            "random": {"linear": difference(0.1008, 0.029), "knn": difference(0.0892, 0.028)},
            "pixels": {"linear": difference(0.0405, 0.044), "knn": difference(0.0049, 0.036)},
        },
        render=Rendering(images=1200, groups=300, views_per_group=4, seconds=171.3, images_per_s=7.01),
        pretrain=Pretraining(
            images_seen=154000, seconds=421.9, images_per_s=365.2, data_wait_fraction=0.0123, loss=2.914
        ),
        seconds=688.4,
        memory_peak_bytes=3_435_973_836,
        steps={"render": 180.2, "pretrain": 430.1, "evaluate": 70.9, "embed": 7.2},
        steps_memory_peak_bytes={
            "render": 2_576_980_377,
            "pretrain": 1_717_986_918,
            "evaluate": 3_435_973_836,
            "embed": 858_993_459,
        },
        commands={
            "render": "python -m factory render demo out/demo/data",
            "pretrain": "python -m trainer pretrain demo --data out/demo/data --out out/demo/run",
            "evaluate": "python -m trainer evaluate out/demo/run --json",
        },
        hardware={"processor": "An Ordinary CPU @ 2.40GHz", "cores": "2 cores", "memory": "24 GB"},
        versions={"python": "3.11.7", "torch": "2.14.1", "diffusers": "0.42.1"},
    )


def metrics() -> list[dict[str, float]]:
    """Make the lines of a training run that goes well."""
    random = np.random.default_rng(0)
    lines = []
    for step in range(1, 302):
        loss = 2.6 + 3.1 * math.exp(-step / 60) + 0.06 * random.standard_normal()
        speed = 365 + 14 * random.standard_normal() - (160 if step < 4 else 0)
        wait = 0.012 + 0.006 * abs(random.standard_normal()) + (0.3 if step < 3 else 0)
        lines.append(
            {
                "images_seen": 512.0 * step,
                "loss": loss,
                "loss_minus_log_positives": loss - math.log(3),
                "images_per_s": speed,
                "data_wait_fraction": wait,
                "lr": 1e-3,
                "grad_norm": 1.0,
                "seconds": 1.4 * step,
            }
        )
    return lines


def exhibits() -> Exhibits:
    """Make sample groups (one with a hostile prompt), neighbours and curves."""
    groups = [
        SampleGroup(prompt, [picture(100 * row + view, f"{prompt}, view {view}") for view in range(4)])
        for row, prompt in enumerate(PROMPTS)
    ]
    rows = []
    for row, label in enumerate(CLASSES):
        found = [
            [
                picture(1000 + 50 * row + place + 7 * way, label if (place * (way + 2) + row) % 3 == 0 else "star")
                for place in range(6)
            ]
            for way in (0, 1)
        ]
        rows.append(NeighbourRow(picture(row, label), *found))
    recipe = f"name: demo\nprompts: {HOSTILE}\nviews: 4\nseed: 0\n"
    shards = [(f"shards/shard-00000{index}-3f9a1c2b7d10.tar", f"{index}" * 64) for index in range(5)]
    return Exhibits(groups, rows, metrics(), recipe, '{"objective": "stablerep"}', shards)
