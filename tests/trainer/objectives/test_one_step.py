"""The loss and the gradient of one step against the papers' equations in plain float64."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch

from learning.augment import patch_pairs
from learning.score_matching import normal
from tests.trainer.objectives import references as ref
from tests.trainer.objectives.tiny import OBJECTIVES, config_of, inputs_of, objective_of
from trainer.objective_config import AnyObjective


def student(objective, crops):
    return torch.cat([objective.encoder.backbone(images) for images in crops])


@torch.no_grad()
def slow(objective, crops):
    return torch.cat([objective.teacher["encoder"].backbone(images) for images in crops])


def simclr(o, p, x, s):
    z = ref.unit(ref.mlp(p, "head", student(o, x.crops[0])))
    return ref.among_each_other(z, x.images.tolist() * 2, s["temperature"], s["decoupled"])


def supcon(o, p, x, s):
    z = ref.unit(ref.mlp(p, "head", student(o, x.crops[0]), layers=s["layers"]))
    alike = x.ids if s["positives"] == "group" else x.labels
    ids = [f"alone {i}" if alike is x.labels and label < 0 else label for i, label in enumerate(alike.tolist())]
    numbered = [sorted(map(str, set(ids))).index(str(one)) for one in ids]
    return ref.among_each_other(z, numbered * 2, s["temperature"])


def stablerep(o, p, x, s):
    z = ref.unit(ref.mlp(p, "head", student(o, x.crops[0]), norm="layer"))
    return ref.among_each_other(z, x.ids.tolist(), s["temperature"], s["decoupled"])


def clip(o, p, x, s):
    return ref.captioned(p, student(o, x.crops[0]), x.tokens, x.ids, x.views, torch.exp(-p["logit_scale"]))[0]


def siglip(o, p, x, s):
    _, rows, texts = ref.captioned(p, student(o, x.crops[0]), x.tokens, x.ids, x.views, 1.0)
    return ref.sigmoid_pairs(rows, texts, x.ids, x.ids[:: x.views], p["logit_scale"].exp(), p["logit_bias"])


def stablerep_text(o, p, x, s):
    z = ref.unit(ref.mlp(p, "head", student(o, x.crops[0])))
    among = ref.among_each_other(z, x.ids.tolist(), s["image"]["temperature"], s["image"]["decoupled"])
    return among + clip(o, p, x, s)


def moco_keys(o, p, x, s):
    keys = ref.unit(ref.mlp(p, "teacher.modules_by_name.head", slow(o, x.crops[0][1:])).detach())
    grouped = s["positives"] == "group"
    return (ref.next_views(keys, x.views), x.ids) if grouped else (keys, x.images)


def moco(o, p, x, s):
    own, ids = moco_keys(o, p, x, s)
    queries = ref.unit(ref.mlp(p, "head", student(o, x.crops[0][:1])))
    return ref.mean_nce(queries, o.queue.keys, ids, o.queue.ids, s["temperature"], own=own)


def infomin(o, p, x, s):
    own, ids = moco_keys(o, p, x, s)
    patches = torch.cat([student(o, x.crops[1][0].unbind(dim=1)).view(4, len(ids), -1)[i] for i in range(4)], dim=1)
    queries = ref.unit(ref.mlp(p, "jigsaw_head", patches))
    of_patches = ref.mean_nce(queries, o.queue.keys, ids, o.queue.ids, s["temperature"], own=own)
    return 0.7 * moco(o, p, x, s) + 0.3 * of_patches


def pirl(o, p, x, s):
    torch.manual_seed(1)
    drawn = torch.randint(len(o.bank), (30,))
    patches = torch.cat([student(o, x.crops[1][0].unbind(dim=1)).view(4, len(x.ids), -1)[i] for i in range(4)], dim=1)
    both = {
        0.3: ref.unit(ref.mlp(p, "jigsaw_head", patches)),
        0.7: ref.unit(ref.mlp(p, "head", student(o, x.crops[0]))),
    }
    entries = o.bank.clone()
    return sum(
        share * ref.mean_nce(q, entries[drawn], x.rows, drawn, s["temperature"], own=entries[x.rows])
        for share, q in both.items()
    )


def mocov3(o, p, x, s):
    crops = [kind[0] for kind in x.crops]
    last = {"output_norm": "batch"}
    queries = ref.unit(ref.mlp(p, "predictor", ref.mlp(p, "head", student(o, crops), **last), **last)).chunk(2)
    keys = ref.unit(ref.mlp(p, "teacher.modules_by_name.head", slow(o, crops), **last).detach()).chunk(2)
    ids, tau = (x.ids if s["positives"] == "group" else x.images), s["temperature"]
    one, two = ref.mean_nce(queries[0], keys[1], ids, ids, tau), ref.mean_nce(queries[1], keys[0], ids, ids, tau)
    return 2 * tau * (one + two)


def cmc(o, p, x, s):
    images = x.crops[0][0]
    light = ref.unit(ref.mlp(p, "first_head", o.encoder.backbone.first(images[:, :1])))
    colour = ref.unit(ref.mlp(p, "second_head", o.encoder.backbone.others(images[:, 1:])))
    ids, tau = (x.ids if s["positives"] == "group" else x.images), s["temperature"]
    return (ref.mean_nce(light, colour, ids, ids, tau) + ref.mean_nce(colour, light, ids, ids, tau)) / 2


def predicted(p, projected, targets, x, s):
    guesses, total = ref.unit(ref.mlp(p, "predictor", projected)).chunk(2), 0
    for guess, target in zip(guesses, reversed(ref.unit(targets.detach()).chunk(2)), strict=True):
        target = ref.next_views(target, x.views) if s["positives"] == "group" else target
        total = total + (guess - target).square().sum(dim=1).mean()
    return total  # of both directions


def byol(o, p, x, s):
    crops = [kind[0] for kind in x.crops]
    targets = ref.mlp(p, "teacher.modules_by_name.head", slow(o, crops))
    return predicted(p, ref.mlp(p, "head", student(o, crops)), targets, x, s)


def simsiam(o, p, x, s):
    projected = ref.mlp(p, "head", student(o, [kind[0] for kind in x.crops]), layers=3, output_norm="batch")
    return predicted(p, projected, projected, x, s) / 4  # -(cos + cos) / 2, plus 1


def supervised(o, p, x, s):
    logits = student(o, x.crops[0]) @ p["classifier.weight"].T + p["classifier.bias"]
    losses = [
        row.exp().sum().log() - row[label] for row, label in zip(logits, x.labels.tolist(), strict=True) if label >= 0
    ]
    return sum(losses) / len(losses)


def kernel(s, t):
    """Mean and std of x_t, by the integrals of their coefficients (arXiv:2011.13456 eq. 29)."""
    if s["sde"] == "ve":
        return torch.ones_like(t), 0.01 * (s["sigma_max"] / 0.01) ** t
    mean = torch.exp(-(t**2) * (20 - 0.1) / 4 - t * 0.1 / 2)
    return mean, (1 - mean**2).sqrt()


def coded(o, p, features, x, s):
    """Codes, and what they cost; the noise of `kl` is the one that is drawn for these images."""
    outputs = features @ p["code.weight"].T + p["code.bias"]
    if s["regularisation"] != "kl":
        return outputs, outputs.abs().sum(dim=1) if s["regularisation"] == "l1" else torch.zeros(len(outputs))
    mean, log_variance = outputs[:, : s["dimensions"]], outputs[:, s["dimensions"] :]
    std = (log_variance / 2).exp()
    costs = (mean**2 + std**2 - 1).sum(dim=1) / 2 - std.log().sum(dim=1)
    return mean + std * normal(o.seeds(x), 3, (s["dimensions"],)), costs


def drl(o, p, x, s):
    images, times = x.crops[0][0], o.times(x)
    timed = (times,) if o.encoder.timed else ()
    codes, costs = coded(o, p, o.encoder.backbone(images, *timed), x, s)
    mean, std = (factor[:, None, None, None] for factor in kernel(s, times))
    noise = normal(o.seeds(x), 2, images.shape[1:])
    noisy, power = mean * images + std * noise, mean**2 * 0.25 + std**2
    score = -noisy / power - mean * 0.5 / power.sqrt() / std * o.net(noisy / power.sqrt(), times, codes)
    towards_the_image = -(noisy - mean * images) / std**2
    squared = (std**2 * (score - towards_the_image) ** 2).sum(dim=(1, 2, 3)) / 2
    return (squared + s["weight"] * costs).mean()


def autoencoder(o, p, x, s):
    images = x.crops[0][0]
    codes, costs = coded(o, p, o.encoder.backbone(images), x, s)
    drawn = 0.5 * o.net(0 * images, images.new_ones(len(images)), codes)
    return ((drawn - images).square().sum(dim=(1, 2, 3)) / 2 + s["weight"] * costs).mean()


def invert(o, p, x, s):
    features = student(o, x.crops[0])
    targets = (x.targets.double() - torch.tensor([0.5, -1.0, 0.0])) / torch.tensor([2.0, 0.25, 1.0])
    loss = (features @ p["head.weight"].T + p["head.bias"] - targets).square().mean()
    if not s["conditional"]:
        return loss
    logits = features @ p["classifier.weight"].T + p["classifier.bias"]
    pairs = [(row, one) for row, one in zip(logits, x.class_ids.tolist(), strict=True) if one >= 0]
    return loss + s["class_weight"] * sum(row.exp().sum().log() - row[one] for row, one in pairs) / len(pairs)


def patches(o, p, x, s):
    z = ref.unit(ref.mlp(p, "head", student(o, patch_pairs(x.crops[0][0], x.images, 16, s["distance_px"]))))
    return ref.among_each_other(z, x.images.tolist() * 2, s["temperature"])


def found(backbone, p, views, x, s):
    """How well the encoders find what belongs together."""
    rows = ref.unit(ref.mlp(p, "heads.0", backbone.first(views[:, :1])))
    others = ref.unit(ref.mlp(p, "heads.1", backbone.others(views[:, 1:])))
    ids, tau = x.images, (-p["logit_scale"]).exp()
    return (ref.mean_nce(rows, others, ids, ids, tau) + ref.mean_nce(others, rows, ids, ids, tau)) / 2


def learned_views(o, p, x, s):
    """The encoders descend, and the flow, before encoders that stand still, ascends."""
    views, still = o.cut(x.crops[0][0]), copy.deepcopy(o.encoder.backbone).requires_grad_(False)
    hidden = found(still, {name: value.detach() for name, value in p.items()}, views, x, s)
    loss = found(o.encoder.backbone, p, views.detach(), x, s) - s["information_weight"] * (hidden - hidden.detach())
    judges = o.judges.backbone
    for number, features in enumerate((judges.first(views[:, :1]), judges.others(views[:, 1:]))):
        name = f"judges.classifiers.{number}"
        logits = features @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        pairs = [(row, y) for row, y in zip(logits, x.labels.tolist(), strict=True) if y >= 0]
        loss = loss + s["label_weight"] * sum(row.exp().sum().log() - row[y] for row, y in pairs) / len(pairs)
    return loss


def synclr_queries_loss(p, features, seen, x, s):
    keys = ref.unit(ref.mlp(p, "teacher.modules_by_name.head", seen, layers=3, norm=s["norm"]).detach())
    projected = ref.mlp(p, "head", features, layers=3, norm=s["norm"])
    queries = ref.unit(ref.mlp(p, "predictor", projected, norm=s["norm"]))
    copies, own = len(queries) // len(keys), list(range(len(keys)))
    return ref.mean_nce(queries, keys, x.ids.tolist() * copies, x.ids, s["temperature"], left_out=own * copies)


def synclr(o, p, x, s):
    large, small = x.crops[0][0], x.crops[1]
    if not s["ibot_weight"]:
        return synclr_queries_loss(p, student(o, [large, *small]), slow(o, [large]), x, s)
    torch.manual_seed(1)
    is_chosen, places = torch.rand(len(large)) < 0.5, torch.rand(len(large), 4).argsort(dim=1).argsort(dim=1)
    mask = (places < 2) & is_chosen[:, None]
    assert mask.any()
    assert not mask.any(dim=1).all()
    token = p["mask.token"]
    pooled, guessed = ref.masked_tokens(o.encoder.backbone, large, mask, token)
    with torch.no_grad():
        whole, seen = ref.masked_tokens(o.teacher["encoder"].backbone, large, None, None)
        scores = ref.prototype_scores(p, "teacher.modules_by_name.prototypes", seen[mask])
        assigned = ref.sinkhorn(scores, s["teacher_temperature"])
    features = torch.cat([pooled, *(o.encoder.backbone(images) for images in small)])
    contrast = synclr_queries_loss(p, features, whole, x, s)
    log_guess = torch.log_softmax(
        ref.prototype_scores(p, "prototypes", guessed[mask]) / s["student_temperature"], dim=1
    )
    per_patch = -(assigned * log_guess).sum(dim=1)
    image_of = mask.nonzero()[:, 0]
    per_image = [per_patch[image_of == i].mean() for i in image_of.unique()]
    return contrast + s["ibot_weight"] * sum(per_image) / len(per_image)


REFERENCES = {name: globals()[name] for name in {case["name"] for case in OBJECTIVES.values()}}


def test_every_objective_that_can_be_configured_is_checked():
    models = get_args(get_args(AnyObjective)[0])
    assert {model.model_fields["name"].default for model in models} == REFERENCES.keys()


@pytest.mark.parametrize("case", OBJECTIVES)
def test_loss_and_gradient_equal_the_papers_equations(case):
    config = config_of(case)
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    parameters = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    settings = config.objective.model_dump()
    expected = REFERENCES[settings["name"]](objective, dict(objective.named_parameters()), inputs, settings)
    wanted = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)

    torch.manual_seed(1)
    loss, report = objective(inputs)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert all(torch.isfinite(value) for value in report.values())
    largest = max(gradient.abs().max() for gradient in wanted if gradient is not None)
    for (name, parameter), gradient in zip(parameters.items(), wanted, strict=True):
        assert gradient is not None, name
        resampled = name.endswith("pos_embed") and "synclr" in case  # for small crops, by timm in float32
        assert (parameter.grad - gradient).abs().max() <= (1e-8 if resampled else 1e-12) * largest, name
    assert all(p.grad is None for p in objective.parameters() if not p.requires_grad)


@pytest.mark.parametrize("case", ["supcon of labels", "supervised"])
def test_a_batch_without_any_label_teaches_nothing_wrong(case):
    config = config_of(case)
    objective = objective_of(config)
    inputs = inputs_of(objective, config, labels=(-1, -1, -1, -1))
    loss, _ = objective(inputs)
    loss.backward()
    gradients = [p.grad.abs().max().item() for p in objective.parameters()]
    if case == "supervised":
        assert loss == 0
        assert max(gradients) == 0
    else:  # every image has its own copy
        apart = inputs._replace(labels=torch.arange(8))
        assert objective(apart)[0].item() == pytest.approx(loss.item(), rel=1e-12)


def test_the_patches_features_are_joined_in_the_order_in_which_they_lie():
    config = config_of("pirl")
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    joined = objective.features(inputs)[1][0]  # [n, 4·D]
    for place in range(4):
        alone = objective.encoder(inputs.crops[1][0, :, place])
        assert torch.allclose(joined[:, 16 * place : 16 * (place + 1)], alone, rtol=0, atol=1e-14)


def test_sinkhorn_uses_all_prototypes_alike():
    from trainer.objectives.ibot import sinkhorn

    scores = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (64, 4)))
    scores[:, 2] += 1  # what everybody would choose
    assigned = sinkhorn(scores, 0.05)
    assert torch.allclose(assigned.sum(dim=1), torch.ones(64, dtype=torch.float64))
    assert assigned.sum(dim=0).max() < 2 * 64 / 4
    assert torch.allclose(assigned, ref.sinkhorn(scores, 0.05), rtol=1e-10, atol=1e-14)
    assert sinkhorn(scores[:0], 0.05).shape == (0, 4)
