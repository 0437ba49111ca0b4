"""300 steps of every preset bring a group's other views nearer, on groups never seen, than wrong positives do.

The control is the same run whose every positive is drawn: another image's crop, label, caption, entry or colour.
"""

import numpy as np
import pytest
import torch

from manifests.dataset import open_dataset
from tests.trainer.data import encode, make_dataset
from tests.trainer.processes import overrides
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.captions import ByteTokenizer, captions
from trainer.config import load_config
from trainer.crops import build_inputs
from trainer.data_facts import DataFacts
from trainer.state import TrainingState
from trainer.stream import Stream

STEPS, GROUPS, HELD_OUT = 300, 300, 100
MARGIN = 0.05
CPU = torch.device("cpu")
QUICK = {"batch_images": 32, "optimizer": "{name: adamw, base_learning_rate: 0.032}"}  # a rate of 0.004
OF_GROUPS = {"objective__positives": "group"}
OF_IMAGES = {"augmentation": "simclr"}  # what learns from one image ignores what is done to it
FAST = {"objective__momentum": 0.9}  # a slow copy that follows within 300 steps
CONVOLUTIONAL = {  # iBOT wants a vision transformer, which learns nothing of gratings within 300 steps
    "encoder__backbone": "resnet10t",
    "encoder__arguments": "{channels: [8, 8, 16, 16], stem_width: 8}",
    "objective__ibot_weight": 0,
    "objective__local_crops": 2,
}
SETTINGS = {
    "moco": {**OF_GROUPS, **FAST},
    "mocov3": {**OF_GROUPS, **FAST},
    "infomin": {**OF_GROUPS, **FAST},
    "byol": {**OF_GROUPS, **FAST},
    "synclr": {**FAST, **CONVOLUTIONAL},
    "cmc": OF_GROUPS,
    "simsiam": OF_GROUPS,
    "supcon": OF_GROUPS,
    "simclr": OF_IMAGES,
    "pirl": OF_IMAGES,
}
STABLEREPS = ("demo", "genrep")  # are StableRep under other names
WITHOUT_POSITIVES = ("drl", "vdrl", "autoencoder", "invert")  # learn from one image at a time
WITHIN = ("patches", "learned_views")  # positives are parts of one crop, which nothing here can draw apart
METHODS = [name for name in TINY_PRESETS if name not in (*STABLEREPS, *WITHOUT_POSITIVES, *WITHIN)]


def picture(group, view):
    """Two gratings whose directions and widths are the group's, and the label's in part; places, contrast and tint are
    the view's alone."""
    of_group, of_view = np.random.default_rng(group), np.random.default_rng([group, 1 + view])
    y, x = np.mgrid[:32, :32]
    waves = 0.0
    angles = (group % 4 + of_group.uniform()) * np.pi / 4, of_group.uniform(0, np.pi)
    for angle, width_px in zip(angles, of_group.uniform(4, 9, 2), strict=True):
        along = x * np.cos(angle) + y * np.sin(angle)
        waves = waves + np.cos(2 * np.pi * (along / width_px + of_view.uniform()))
    tint, grey = of_view.uniform(0.4, 1, 3), of_view.uniform(0.5, 1)
    return (255 * tint * (0.5 + grey * waves[..., None] / 4)).astype(np.uint8)


def shuffled(inputs, step):
    """Every crop stays; which crops, numbers, labels, captions and colours belong together is drawn."""
    draw = torch.Generator().manual_seed(step)

    def order():
        return torch.randperm(len(inputs.ids), generator=draw)

    crops = [torch.stack([copy[order()] for copy in kind]) for kind in inputs.crops]
    return inputs._replace(crops=tuple(crops), rows=inputs.rows[order()], labels=inputs.labels[order()])


def recoloured(inputs, step):
    """For what learns from an image's lightness and its own colour: another image's colour."""
    order = torch.randperm(len(inputs.ids), generator=torch.Generator().manual_seed(step + STEPS))
    (crops,) = inputs.crops
    return inputs._replace(crops=(torch.cat([crops[:, :, :1], crops[:, order, 1:]], dim=2),))


def retrieval(objective):
    """Share of other groups' images that lie farther than the group's other view; 0.5 by chance."""
    objective.eval()
    images = [picture(group, view) for group in range(1000, 1000 + HELD_OUT) for view in range(2)]
    rows = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        z = torch.nn.functional.normalize(objective.encoder(objective.encoder.normalize(rows)), dim=1)
    cosine = z @ z.T
    mate = torch.arange(len(z)) ^ 1
    is_farther = cosine < cosine[torch.arange(len(z)), mate][:, None]
    return is_farther.sum(dim=1).double().mean().item() / (len(z) - 2)


def trained(preset, url, is_control):
    settings = {"augmentation": "weak", **TINY_PRESETS[preset], **QUICK, **SETTINGS.get(preset, {})}
    config = load_config(preset, overrides(**settings))
    config = config.model_copy(update={"images": STEPS * config.batch_images})
    text = getattr(config.objective, "text", None)
    tokens = [captions(open_dataset(url), ByteTokenizer(), text.context)] if text else None
    stream = Stream([open_dataset(url)], batch_groups=config.batch_groups, views=2, seed=0, captions=tokens)
    state = TrainingState(config, CPU, DataFacts(stream.stored_images, stream.classes, ByteTokenizer.vocabulary))
    for step in range(STEPS):
        inputs = build_inputs(stream.batch(step * config.batch_groups), state.objective, config, CPU)
        if is_control:
            inputs = shuffled(inputs, step)
            inputs = recoloured(inputs, step) if preset == "cmc" else inputs
        torch.manual_seed(step)
        loss, _ = state.objective(inputs)
        loss.backward()
        state.step(loss)
    return retrieval(state.objective)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    prompts = [f"group {group}" for group in range(GROUPS)]
    images = {(group, view): encode(picture(group, view)) for group in range(GROUPS) for view in range(2)}
    folder = tmp_path_factory.mktemp("data") / "set"
    return make_dataset(folder, groups=GROUPS, views=2, prompts=prompts, images=images)


@pytest.mark.slow
@pytest.mark.parametrize("preset", METHODS)
def test_300_steps_beat_a_control_with_shuffled_positives(url, preset):
    torch.set_num_threads(1)
    found, control = trained(preset, url, False), trained(preset, url, True)
    assert found > control + MARGIN, (found, control)
