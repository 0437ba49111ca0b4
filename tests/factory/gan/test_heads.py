"""Heads: what they return, that no weight stretches, that classes and all levels count."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from factory.gan.bank import Seen
from factory.gan.heads import KINDS, Kind, blurred, build_head

WIDTHS = ([6, 10], 7)
PLACES = {"multilevel": [16, 4, 1], "conv": [1], "pooled": [1]}


def seen(seed: int = 0, images: int = 3) -> Seen:
    torch.manual_seed(seed)
    return Seen([torch.randn(images, 6, 8, 8), torch.randn(images, 10, 4, 4)], torch.randn(images, 7))


def head_of(kind: Kind, classes: int = 0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_head(kind, WIDTHS, 5, classes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_judges_at_its_places(kind: Kind) -> None:
    assert [tuple(each.shape) for each in head_of(kind)(seen(), None)] == [(3, places) for places in PLACES[kind]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_judged_alone(kind: Kind) -> None:
    head, whole = head_of(kind).eval(), seen()
    one = Seen([level[1:2] for level in whole.levels], whole.pooled[1:2])
    for ours, theirs in zip(head(one, None), head(whole, None), strict=True):
        torch.testing.assert_close(ours, theirs[1:2])


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_a_largest_singular_value_of_one(kind: Kind) -> None:
    head = head_of(kind, classes=4).train()
    ids = torch.tensor([0, 1, 2])
    for _ in range(60):  # the power iteration goes on with each batch
        head(seen(), ids)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding)]
    assert len(layers) >= 3
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_changes_the_judgement_by_its_own_direction(kind: Kind) -> None:
    head = head_of(kind, classes=3).eval()
    features = seen()
    first, second = (head(features, torch.full((3,), each)) for each in (0, 2))
    assert all((a - b).abs().min() > 0 for a, b in zip(first, second, strict=True))
    plain = head_of(kind).eval()(features, None)
    assert [each.shape for each in plain] == [each.shape for each in first]


def test_every_level_and_the_pooled_features_reach_the_multilevel_head() -> None:
    features = seen()
    tensors = [*features.levels, features.pooled]
    for tensor in tensors:
        tensor.requires_grad_()
    torch.cat([each.flatten() for each in head_of("multilevel")(features, None)]).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors)


def test_a_blur_keeps_what_is_flat_and_spreads_a_point() -> None:
    flat = torch.full((1, 2, 5, 5), 3.0)
    torch.testing.assert_close(blurred(flat), flat)
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 16
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    torch.testing.assert_close(blurred(point)[0, 0, 1:4, 1:4], expected)


def test_the_kinds_are_those_of_the_config() -> None:
    assert get_args(Kind) == KINDS
