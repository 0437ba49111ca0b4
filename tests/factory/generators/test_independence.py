"""A view's pixels depend on its request and the batch size: not on neighbours, slot, history, or instance."""

import functools
from typing import Any

import numpy as np
import pytest

from factory.generators import open_generator
from factory.generators.layouts import UNET_SCHEDULERS
from tests.factory import tiny

STOCHASTIC = [
    (
        "sd15",
        {"scheduler": "DPMSolverMultistepScheduler", "scheduler_options": (("algorithm_type", "sde-dpmsolver++"),)},
    ),
    ("sd2", {"eta": 1.0}),
    ("sd15", {"scheduler": "TCDScheduler", "eta": 0.5}),
    ("sd15", {"scheduler": "EulerAncestralDiscreteScheduler", "dtype": "bfloat16"}),
]
CASES = [
    *((layout, {}) for layout in tiny.LAYOUTS),
    *(("sd15", {"scheduler": name}) for name in sorted(UNET_SCHEDULERS)),
    ("sdxl", {"scheduler": "EulerAncestralDiscreteScheduler"}),
    ("sd2", {"channels_last": True}),
    *STOCHASTIC,
]


def name_of(case: Any) -> str:
    return case if isinstance(case, str) else "-".join(str(value) for value in case.values()) or "own"


@pytest.mark.parametrize(("layout", "changes"), CASES, ids=name_of)
def test_a_view_is_the_same_bits_in_another_slot_beside_others(
    layout: str, changes: dict[str, Any], open_tiny: Any, views: Any
) -> None:
    generator = open_tiny(layout, **changes)
    wanted = views(1)[0]
    first = generator.render([wanted, *views(3, first=1)], 4).pixels
    other = generator.render([*views(3, first=10), wanted], 4).pixels  # and after another batch
    padded = generator.render([wanted], 4).pixels
    assert np.array_equal(first[0], other[3])
    assert np.array_equal(first[0], padded[0])
    assert padded.shape == (1, 32, 32, 3)


@pytest.mark.parametrize("layout", tiny.LAYOUTS)
def test_a_newly_opened_generator_goes_on_where_the_old_one_died(layout: str, open_tiny: Any, views: Any) -> None:
    whole = [open_tiny(layout).render(views(4, first=i), 4).pixels for i in (0, 4)]
    resumed = open_generator(tiny.source(layout))
    resumed.prepare([(view.prompt, view.negative_prompt) for view in views(4, first=4)])
    assert np.array_equal(resumed.render(views(4, first=4), 4).pixels, whole[1])
    resumed.close()


@pytest.mark.parametrize("layout", tiny.LAYOUTS)
def test_seed_and_prompt_and_guidance_change_the_image(layout: str, open_tiny: Any, views: Any) -> None:
    generator, (wanted,) = open_tiny(layout), views(1)
    changed = [
        type(wanted)(0, 0, 0, **{"seed": 100, "prompt": wanted.prompt, "guidance_scale": 5.0, **change})
        for change in ({"seed": 101}, {"prompt": "a house"}, {"guidance_scale": 9.0})
    ]
    base, *others = (generator.render([view], 2).pixels for view in (wanted, *changed))
    assert all((base != other).any() for other in others)


def test_embeddings_do_not_depend_on_what_else_a_shard_prompts(open_tiny: Any, views: Any) -> None:
    generator, batch = open_tiny("sdxl"), views(2)
    generator.prepare([(view.prompt, "") for view in batch])
    alone = generator.render(batch, 2).pixels
    generator.prepare([(f"prompt number {i}", "") for i in range(11)] + [(view.prompt, "") for view in batch])
    assert np.array_equal(generator.render(batch, 2).pixels, alone)


def test_a_prompt_is_encoded_once_a_shard(open_tiny: Any, views: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, calls = open_generator(tiny.source("sd15")), []
    encode = generator._pipe.encode_prompt

    @functools.wraps(encode)
    def counted(prompt: list[str], *rest: Any, **named: Any) -> Any:
        calls.extend([prompt] if prompt is not None else [])
        return encode(prompt, *rest, **named)

    monkeypatch.setattr(generator._pipe, "encode_prompt", counted)
    generator.prepare([("a", "x"), ("b", "x"), ("a", "")])
    for seed in range(3):
        generator.render([type(views(1)[0])(0, 0, 0, seed, "a", "x", 5.0)], 2)
    assert calls == [["a", "b", "x", "", "", "", "", ""]]


def test_texts_that_are_cut_are_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        open_generator(tiny.source("sd15")).prepare([("a cat", ""), ("word " * 90, "")])
    assert [record.getMessage()[:48] for record in caplog.records] == [
        "CLIP reads 77 tokens: it cuts 1 of 3 texts, such"
    ]


def test_only_one_guidance_scale_may_share_a_batch(open_tiny: Any, views: Any) -> None:
    generator = open_tiny("sd15")
    assert generator.batch_key(views(1)[0]) == generator.batch_key(views(1, first=5)[0])
    assert generator.batch_key(views(1)[0]) != generator.batch_key(views(1, guidance_scale=6.0)[0])
