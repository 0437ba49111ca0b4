"""What a step reports, against plain loops over every anchor and its positives, in float64."""

import math

import pytest
import torch

from tests.trainer.objectives import references as ref
from tests.trainer.objectives.tiny import OBJECTIVES, config_of, inputs_of, objective_of
from trainer.objectives.reports import contrastive_report

TOTAL = {"clip", "siglip", "cmc", "cmc of groups", "simclr", "supcon of labels", "supcon of groups", "stablerep"}
TOTAL |= {"moco", "moco of groups", "infomin", "pirl", "simsiam", "simsiam of groups", "byol", "byol of groups"}
TOTAL |= {"simclr decoupled", "stablerep decoupled", "infomin of groups", "supervised", "synclr without patches"}

OF_CODES = {"code_gap", "code_std"}  # what a decoder loses without its code; how codes vary
WATCHED = {"supervised": {"accuracy"}, "invert": {"r2"}, "drl": OF_CODES, "vdrl": OF_CODES, "autoencoder": OF_CODES}


def rows(count, seed):
    drawn = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ref.unit(drawn)


def by_hand(total, queries, keys, ids, key_ids, left_out=None, own=None):
    """Loss, loss above its floor and alignment: anchors that have a positive, one by one."""
    floors, distances = [], []
    for i, query in enumerate(queries):
        alike = [key for j, key in enumerate(keys) if ids[i] == key_ids[j] and not (left_out and left_out[i] == j)]
        alike += [] if own is None else [own[i]]
        if alike:
            floors.append(math.log(len(alike)))
            distances.append(sum((query - key).square().sum().item() for key in alike) / len(alike))
    count = len(floors)
    return {
        "loss": total / count,
        "loss_minus_log_positives": (total - sum(floors)) / count,
        "alignment": sum(distances) / count,
    }


def assert_reported(found, expected):
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("has_own", [False, True])
@pytest.mark.parametrize("left_out", [None, [2, 0, 1, 4, 6, 5]])
def test_a_report_counts_every_positive_once_and_none_that_is_left_out(left_out, has_own):
    queries, keys, own = rows(6, 0), rows(7, 1), rows(6, 2)
    ids, key_ids = [4, 4, 1, 9, 2, 4], [4, 4, 1, 4, 9, 7, 4]
    index = None if left_out is None else torch.tensor(left_out)
    more = {"exclude_index": index, "own_keys": own if has_own else None}
    total = torch.tensor(3.7, dtype=torch.float64)
    found = contrastive_report(total, queries, keys, torch.tensor(ids), torch.tensor(key_ids), **more)
    assert_reported(found, by_hand(3.7, queries, keys, ids, key_ids, left_out, own if has_own else None))


@pytest.mark.parametrize("case", sorted(TOTAL))
def test_the_loss_that_is_told_is_the_one_that_is_learned_from(case):
    config = config_of(case)
    objective = objective_of(config)
    torch.manual_seed(1)
    loss, report = objective(inputs_of(objective, config))
    assert report["loss"].item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("case", ["synclr", "stablerep_text"])
def test_what_a_loss_is_made_of_is_told_in_parts(case):
    config = config_of(case)
    objective = objective_of(config)
    torch.manual_seed(1)
    loss, report = objective(inputs_of(objective, config))
    parts = report["loss"] + report["patch_loss" if case == "synclr" else "caption_loss"]
    assert parts.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("case", ["mocov3", "mocov3 of groups"])
def test_mocov3_tells_its_loss_without_the_factor_and_as_a_mean(case):
    config = config_of(case)
    objective = objective_of(config)
    loss, report = objective(inputs_of(objective, config))
    assert report["loss"].item() * 4 * config.objective.temperature == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("case", ["synclr", "synclr without patches"])
def test_synclrs_alignment_is_that_of_large_crops_and_other_images_slow_keys(case):
    config = config_of(case)
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    torch.manual_seed(1)
    with torch.no_grad():
        features = objective.features(inputs)
        torch.manual_seed(1)
        _, report = objective(inputs)
        crops = torch.cat(features[:2])
        n = len(inputs.ids)
        queries = ref.unit(objective.predictor(objective.head(crops.flatten(0, 1))))[:n]
        keys = ref.unit(objective.teacher["head"](features[2][0]))
    ids = inputs.ids.tolist()
    expected = by_hand(report["loss"].item() * n, queries, keys, ids, ids, left_out=list(range(n)))
    assert len({tuple(row) for row in (queries - keys).tolist()}) == n  # the slow keys are not the queries
    if case == "synclr":
        expected.pop("loss")
    assert_reported(report, expected)


@pytest.mark.parametrize("case", ["moco of groups", "moco", "pirl"])
def test_keys_of_memory_that_show_the_same_thing_count_as_positives(case):
    config = config_of(case)
    objective = objective_of(config)
    for step in range(2):
        inputs = inputs_of(objective, config, seed=step)
        torch.manual_seed(1)
        memory = (
            objective.bank.clone() if case == "pirl" else (objective.queue.keys.clone(), objective.queue.ids.clone())
        )
        _, report = objective(inputs)
        objective.after_step(8)
    with torch.no_grad():
        if case == "pirl":
            torch.manual_seed(1)
            drawn = torch.randint(len(memory), (30,))
            queries = ref.unit(objective.head(objective.encoder(inputs.crops[0][0])))
            found = queries, memory[drawn], inputs.rows.tolist(), drawn.tolist(), None, memory[inputs.rows]
        else:
            own = ref.unit(objective_keys(objective, config, inputs, step))
            queries = ref.unit(objective.head(objective.encoder(inputs.crops[0][0])))
            grouped = case == "moco of groups"
            ids = (inputs.ids if grouped else inputs.images).tolist()
            own = ref.next_views(own, inputs.views) if grouped else own
            found = queries, memory[0], ids, memory[1].tolist(), None, own
    count = len(inputs.ids)
    expected = by_hand(report["loss"].item() * count, *found)
    assert_reported(report, {"loss_minus_log_positives": expected["loss_minus_log_positives"]})
    if case == "moco of groups":
        assert report["loss_minus_log_positives"] < report["loss"]  # some are in the queue


def objective_keys(objective, config, inputs, step):
    """The keys as the slow copy made them; only their number matters here, not where it has moved to since."""
    return objective.teacher["head"](objective.teacher["encoder"](inputs.crops[0][1]))


def test_clips_report_is_the_mean_of_both_directions():
    config = config_of("clip", views=2)
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    with torch.no_grad():
        features = objective.features(inputs)
        images, texts = objective.projected(features)
        _, report = objective.loss(features, inputs)
        ids, text_ids = inputs.ids.tolist(), inputs.ids[::2].tolist()
        tau = (-objective.logit_scale).exp()
        one, _ = ref.nce(images, texts, ids, text_ids, tau)
        two, _ = ref.nce(texts, images, text_ids, ids, tau)
    there = by_hand(one.item(), images, texts, ids, text_ids)
    back = by_hand(two.item(), texts, images, text_ids, ids)
    assert there["loss"] != pytest.approx(back["loss"], rel=1e-3)
    assert_reported(report, {name: (there[name] + back[name]) / 2 for name in there})


def test_every_objective_tells_signs_of_collapse_or_its_accuracy():
    for case in OBJECTIVES:
        config = config_of(case)
        objective = objective_of(config)
        _, report = objective(inputs_of(objective, config))
        watched = WATCHED.get(config.objective.name, {"uniformity", "feature_std", "alignment"})
        assert watched <= report.keys(), case
        assert objective.embeddings is not None
