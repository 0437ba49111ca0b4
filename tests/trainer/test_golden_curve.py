"""Twenty steps of training, as they were: float32 losses of integer-made images, within what processors differ by."""

import json

import pytest

from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run

CURVES = {
    "simclr": [
        4.1484,
        3.8959,
        4.0173,
        4.0245,
        3.9308,
        4.4709,
        4.2549,
        4.3566,
        4.0782,
        4.7559,
        4.2678,
        3.9601,
        4.7337,
        3.3748,
        4.2114,
        4.7776,
        4.4075,
        4.3223,
        4.1371,
        4.4449,
    ],
    "stablerep": [
        5.3702,
        5.0488,
        6.1166,
        4.4045,
        5.8508,
        3.5242,
        4.5584,
        6.3664,
        4.7847,
        4.9556,
        3.9387,
        4.4434,
        5.3902,
        4.4394,
        5.8731,
        5.2154,
        5.8522,
        4.7769,
        4.756,
        3.6657,
    ],
}


@pytest.mark.parametrize("preset", CURVES)
def test_twenty_steps_give_the_losses_they_gave(tmp_path, preset):
    url = make_dataset(tmp_path / "set", groups=24, views=2)
    code, said = run(pretrain_words(url, tmp_path / "run", preset, images=320))
    assert code == 0, said
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == pytest.approx(CURVES[preset], rel=1e-3)
