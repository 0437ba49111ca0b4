"""The one loss equals six textbook losses, written here as plain float64 loops over anchors."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from learning import losses
from learning.losses import multi_positive_nce
from tests.distributed.harness import run_processes

Array = NDArray[np.float64]


def unit_rows(seed: int, n: int, width: int = 5) -> Array:
    rows = np.random.default_rng(seed).normal(size=(n, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def log_sum_exp(values: Array) -> float:
    peak = values.max()
    return float(peak + np.log(np.exp(values - peak).sum()))


def simclr_reference(z: Array, temperature: float) -> float:
    """NT-Xent of 2k rows of which 2i and 2i+1 are a pair (arXiv:2002.05709 eq. 1), mean over rows."""
    total = 0.0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        total -= z[i] @ z[i ^ 1] / temperature - log_sum_exp(z[others] @ z[i] / temperature)
    return total / len(z)


def supcon_reference(z: Array, labels: list[int], temperature: float) -> float:
    """L_out (arXiv:2004.11362 eq. 2): outside the logarithm, each positive's log-ratio is averaged."""
    losses_of_anchors = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        denominator = log_sum_exp(z[others] @ z[i] / temperature)
        if positives:
            losses_of_anchors.append(-np.mean([z[i] @ z[p] / temperature - denominator for p in positives]))
    return float(np.mean(losses_of_anchors))


def stablerep_reference(z: Array, labels: list[int], temperature: float) -> float:
    """Cross-entropy of the softmax over the others and the match distribution (arXiv:2306.00984 eq. 1-3)."""
    total = 0.0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        logits = np.array([z[i] @ z[j] / temperature for j in others])
        softmax = np.exp(logits - log_sum_exp(logits))
        match = np.array([float(labels[j] == labels[i]) for j in others])
        total -= float((match / match.sum()) @ np.log(softmax))
    return total / len(z)


def clip_reference(a: Array, b: Array, temperature: float) -> float:
    """Cross-entropy of the diagonal, from `a` to `b`."""
    return float(np.mean([log_sum_exp(b @ a[i] / temperature) - a[i] @ b[i] / temperature for i in range(len(a))]))


def moco_reference(q: Array, k: Array, queue: Array, temperature: float) -> float:
    """(1 + K)-way cross-entropy with class 0 the query's own key (arXiv:1911.05722 eq. 1)."""
    total = 0.0
    for i in range(len(q)):
        logits = np.concatenate([[q[i] @ k[i]], queue @ q[i]]) / temperature
        total -= logits[0] - log_sum_exp(logits)
    return total / len(q)


def dcl_reference(z: Array, labels: list[int], temperature: float) -> float:
    """Per positive pair, -s_ip + log of the sum over negatives (arXiv:2110.06848 eq. 6), averaged per anchor."""
    total = 0.0
    for i in range(len(z)):
        positives = [j for j in range(len(z)) if j != i and labels[j] == labels[i]]
        negatives = [j for j in range(len(z)) if labels[j] != labels[i]]
        pairs = [-(z[i] @ z[p]) / temperature + log_sum_exp(z[negatives] @ z[i] / temperature) for p in positives]
        total += float(np.mean(pairs))
    return total / len(z)


def mean_loss(z: Array, labels: list[int], temperature: float, *, decoupled: bool = False) -> float:
    rows, ids = torch.from_numpy(z), torch.tensor(labels)
    total, count = multi_positive_nce(
        rows, rows, ids, ids, exclude_index=torch.arange(len(z)), temperature=temperature, decoupled=decoupled
    )
    return float(total / count)


TRIPLES = [4, 4, 4, -7, -7, -7, 2**62, 2**62, 2**62]


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5])
def test_pairs_are_simclr(temperature: float) -> None:
    z = unit_rows(1, 12)
    labels = [i // 2 for i in range(12)]
    assert abs(mean_loss(z, labels, temperature) - simclr_reference(z, temperature)) <= 1e-12


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_labels_are_supcon_and_lonely_anchors_are_not_counted(temperature: float) -> None:
    z, labels = unit_rows(2, 11), [0, 1, 0, 2, 2, 2, 9, 1, 0, 8, 7]
    assert abs(mean_loss(z, labels, temperature) - supcon_reference(z, labels, temperature)) <= 1e-12


def test_groups_are_stablerep() -> None:
    z = unit_rows(3, 9)
    assert abs(mean_loss(z, TRIPLES, 0.1) - stablerep_reference(z, TRIPLES, 0.1)) <= 1e-12


def test_two_towers_are_clip_in_both_directions() -> None:
    image, text, ids = unit_rows(4, 7), unit_rows(5, 7), torch.arange(7)
    for a, b in ((image, text), (text, image)):
        total, count = multi_positive_nce(torch.from_numpy(a), torch.from_numpy(b), ids, ids, temperature=0.07)
        assert abs(float(total / count) - clip_reference(a, b, 0.07)) <= 1e-12


def test_own_keys_and_a_queue_are_moco() -> None:
    q, k, queue = unit_rows(6, 4), unit_rows(7, 4), unit_rows(8, 20)
    total, count = multi_positive_nce(
        *map(torch.from_numpy, (q, queue)), torch.arange(4), torch.arange(100, 120), own_keys=torch.from_numpy(k),
        temperature=0.2,
    )  # fmt: skip
    assert abs(float(total / count) - moco_reference(q, k, queue, 0.2)) <= 1e-12


def test_the_same_prompt_in_the_queue_is_a_positive_beside_the_own_key() -> None:
    q, k, queue = unit_rows(6, 1), unit_rows(7, 1), unit_rows(8, 6)
    total, _ = multi_positive_nce(
        *map(torch.from_numpy, (q, queue)), torch.tensor([5]), torch.tensor([1, 5, 2, 5, 3, 4]),
        own_keys=torch.from_numpy(k), temperature=0.2,
    )  # fmt: skip
    logits = np.concatenate([queue @ q[0], k @ q[0]]) / 0.2
    assert abs(float(total) - (log_sum_exp(logits) - logits[[1, 3, 6]].mean())) <= 1e-12


@pytest.mark.parametrize("labels", [TRIPLES, [0, 0, 1, 1, 2, 2, 2, 3, 3]])
def test_decoupled_is_dcl(labels: list[int]) -> None:
    z = unit_rows(9, 9)
    assert abs(mean_loss(z, labels, 0.1, decoupled=True) - dcl_reference(z, labels, 0.1)) <= 1e-12


def test_decoupled_moco_compares_with_the_queue_only() -> None:
    q, k, queue = unit_rows(6, 3), unit_rows(7, 3), unit_rows(8, 9)
    total, _ = multi_positive_nce(
        *map(torch.from_numpy, (q, queue)), torch.arange(3), torch.arange(50, 59), own_keys=torch.from_numpy(k),
        temperature=0.2, decoupled=True,
    )  # fmt: skip
    expected = sum(log_sum_exp(queue @ q[i] / 0.2) - q[i] @ k[i] / 0.2 for i in range(3))
    assert abs(float(total) - expected) <= 1e-12


def test_decoupled_without_a_negative_adds_nothing_and_has_finite_gradients() -> None:
    rows = torch.from_numpy(unit_rows(1, 3)).requires_grad_()
    ids = torch.zeros(3, dtype=torch.long)
    total, count = multi_positive_nce(
        rows, rows, ids, ids, exclude_index=torch.arange(3), temperature=0.1, decoupled=True
    )
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0)
    assert rows.grad is not None
    assert not rows.grad.any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=14), st.integers(0, 99), st.integers(1, 40))
def test_any_labels_and_any_chunk_size_are_supcon(labels: list[int], seed: int, chunk_logits: int) -> None:
    z = unit_rows(seed, len(labels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK_LOGITS", chunk_logits)
        ids, rows = torch.tensor(labels), torch.from_numpy(z)
        total, count = multi_positive_nce(rows, rows, ids, ids, exclude_index=torch.arange(len(z)), temperature=0.2)
    assert int(count) == sum(labels.count(label) > 1 for label in labels)
    if count:
        assert abs(float(total / count) - supcon_reference(z, labels, 0.2)) <= 1e-12


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("chunk_logits", [1, 20, 1 << 20])
def test_gradcheck_of_every_input(decoupled: bool, chunk_logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_LOGITS", chunk_logits)
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (9, 4), (6, 4)]
    inputs = [torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    query_ids, key_ids = torch.tensor([0, 0, 1, 2, 3, 9]), torch.tensor([0, 0, 1, 2, 3, 0, 1, 2, 5])
    exclude = torch.tensor([0, 1, 2, 3, -1, 5])

    def loss(own_is_used: bool) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        return lambda q, k, own, t: multi_positive_nce(
            q, k, query_ids, key_ids, exclude_index=exclude, own_keys=own if own_is_used else None, temperature=t,
            decoupled=decoupled,
        )[0] + 0 * own.sum()  # fmt: skip

    for own_is_used in (False, True):
        assert torch.autograd.gradcheck(loss(own_is_used), (*inputs, temperature))


def test_float32_and_autocast_stay_float32() -> None:
    rows = torch.from_numpy(unit_rows(1, 64, 32)).float().requires_grad_()
    ids, index = torch.arange(64) // 4, torch.arange(64)

    def gradient(autocast: bool) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            total, _ = multi_positive_nce(rows, rows, ids, ids, exclude_index=index, temperature=0.1)
            return total, torch.autograd.grad(total, rows)[0]

    (plain, plain_gradient), (cast, cast_gradient) = gradient(False), gradient(True)
    assert cast.dtype == torch.float32
    assert torch.equal(plain, cast)
    assert torch.equal(plain_gradient, cast_gradient)


def test_bfloat16_features_give_a_float32_loss_within_two_percent_of_the_gradient() -> None:
    rows = torch.from_numpy(unit_rows(1, 96, 32)).float()
    ids, index = torch.arange(96) // 4, torch.arange(96)

    def gradient(dtype: torch.dtype) -> Tensor:
        features = rows.to(dtype).requires_grad_()
        total, _ = multi_positive_nce(features, features, ids, ids, exclude_index=index, temperature=0.1)
        assert total.dtype == torch.float32
        return torch.autograd.grad(total, features)[0].float()

    reference = gradient(torch.float32)
    assert (gradient(torch.bfloat16) - reference).norm() <= 0.02 * reference.norm()


def test_huge_logits_do_not_overflow() -> None:
    z = unit_rows(3, 8).astype(np.float32)
    rows, ids = torch.from_numpy(z).requires_grad_(), torch.arange(8) // 2
    total, _ = multi_positive_nce(rows, rows, ids, ids, exclude_index=torch.arange(8), temperature=1e-3)
    total.backward()
    assert total.isfinite()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_a_wrong_shape_is_named() -> None:
    rows = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"key_ids has shape \(2,\), expected \(3,\)"):
        multi_positive_nce(rows, rows, torch.arange(3), torch.arange(2), temperature=0.1)


def verdict_within(budget_bytes: int, rows: int, chunk_logits: int) -> str:
    """Differentiate the loss of so many rows under a real limit on this process's memory."""

    def step(n: int) -> None:
        embeddings = normalize(torch.randn(n, 16, generator=torch.Generator().manual_seed(0))).requires_grad_()
        ids, own = torch.arange(n) // 4, torch.arange(n)
        multi_positive_nce(embeddings, embeddings, ids, ids, exclude_index=own, temperature=0.1)[0].backward()

    step(64)
    losses.CHUNK_LOGITS = chunk_logits
    in_use_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use_bytes + budget_bytes,) * 2)
    try:
        step(rows)
    except RuntimeError as error:
        return "out of memory" if "allocate" in str(error) else str(error)
    return "fits"


@pytest.mark.parametrize(("chunk_logits", "verdict"), [(losses.CHUNK_LOGITS, "fits"), (8192**2, "out of memory")])
def test_a_batch_whose_logits_take_256_mb_fits_into_96_mb(chunk_logits: int, verdict: str) -> None:
    """The second case is the control: one chunk of everything is the dense form and must not fit."""
    assert run_processes(1, verdict_within, 96 << 20, 8192, chunk_logits) == [verdict]
