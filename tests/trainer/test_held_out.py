"""300 steps of every preset bring a group's other views nearer, on groups never seen, than wrong positives do."""

import numpy as np
import pytest
import torch

from manifests.dataset import open_dataset
from tests.trainer.data import make_dataset, pixels
from tests.trainer.processes import overrides
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.captions import ByteTokenizer, captions
from trainer.config import load_config
from trainer.crops import build_inputs
from trainer.data_facts import DataFacts
from trainer.state import TrainingState
from trainer.stream import Stream

STEPS, GROUPS, HELD_OUT = 300, 48, 40
CPU = torch.device("cpu")
BY_GROUP = {  # what a method needs to learn from groups, where its preset learns from images or labels
    "moco": {"objective__positives": "group"},
    "mocov3": {"objective__positives": "group"},
    "infomin": {"objective__positives": "group"},
    "cmc": {"objective__positives": "group"},
    "simsiam": {"objective__positives": "group"},
    "byol": {"objective__positives": "group"},
    "supcon": {"objective__positives": "group"},
}

WITHOUT_GROUPS = ("simclr", "pirl", "supervised", "drl", "vdrl", "autoencoder", "invert")


def shuffled(inputs, step):
    """Every image, its number, its patches and its crops stay; what it is a positive of is drawn."""
    order = torch.randperm(len(inputs.ids), generator=torch.Generator().manual_seed(step))
    return inputs._replace(crops=tuple(crop[:, order] for crop in inputs.crops), rows=inputs.rows[order])


def retrieval(state):
    """Share of held-out images whose nearest neighbour is another view of their group."""
    state.objective.eval()
    images = [pixels(group, view) for group in range(1000, 1000 + HELD_OUT) for view in range(2)]
    rows = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        encoder = state.objective.encoder
        z = torch.nn.functional.normalize(encoder(encoder.normalize(rows)), dim=1)
    near = (z @ z.T).fill_diagonal_(-2).argmax(dim=1)
    return (near // 2 == torch.arange(len(z)) // 2).double().mean().item()


def trained(preset, url, is_control):
    config = load_config(preset, overrides(images=STEPS * 16, **{**TINY_PRESETS[preset], **BY_GROUP.get(preset, {})}))
    text = getattr(config.objective, "text", None)
    tokens = [captions(open_dataset(url), ByteTokenizer(), text.context)] if text else None
    stream = Stream([open_dataset(url)], batch_groups=8, views=2, seed=0, captions=tokens)
    state = TrainingState(config, CPU, DataFacts(stream.stored_images, stream.classes, ByteTokenizer.vocabulary))
    for step in range(STEPS):
        inputs = build_inputs(stream.batch(8 * step), state.objective, config, CPU)
        torch.manual_seed(step)
        loss, _ = state.objective(shuffled(inputs, step) if is_control else inputs)
        loss.backward()
        state.step(loss)
    return retrieval(state)


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in TINY_PRESETS if name not in WITHOUT_GROUPS])
def test_300_steps_beat_a_control_with_shuffled_positives(tmp_path, preset, monkeypatch):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    prompts = [f"group {group}" for group in range(GROUPS)]
    url = make_dataset(tmp_path / "set", groups=GROUPS, views=2, prompts=prompts)
    found, control = trained(preset, url, False), trained(preset, url, True)
    assert found > control, (found, control)
