"""A run that collapses and starves says so, with the likely cause, while it runs; a healthy one is quiet."""

import json
import time

from tests.trainer import processes
from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, start
from trainer.monitor import warnings

WATCHED = {
    *(
        "loss",
        "loss_minus_log_positives",
        "alignment",
        "uniformity",
        "feature_std",
        "effective_rank",
        "lr",
        "grad_norm",
    ),
    *("images_per_s", "data_wait_fraction", "memory_peak_bytes", "skipped_steps", "unreadable_groups", "seconds"),
}


def sick(words, log, largest_file_bytes, environment):
    """Be the command line with an encoder that gives one feature for every image, and a reader that dawdles."""
    import manifests.dataset
    import trainer.encoders

    encode, read = trainer.encoders.Encoder.forward, manifests.dataset.DataSet.read

    def constant(self, images):
        features = encode(self, images)
        return 1 + 0 * features

    def slow(self, *member):
        time.sleep(0.1)
        return read(self, *member)

    trainer.encoders.Encoder.forward, manifests.dataset.DataSet.read = constant, slow
    processes._run(words, log, largest_file_bytes, environment)


def test_collapse_and_starvation_are_said_while_they_happen(tmp_path):
    url = make_dataset(tmp_path / "set", groups=24, views=2)
    words = pretrain_words(url, tmp_path / "run", images=32, data__workers=1, objective__norm="layer")
    code, said = start(words, target=sick).wait()
    assert code == 0, said
    assert "warning: embeddings collapse (feature_std 0.00 of 1): lower the learning rate or raise" in said
    assert "warning: training waits for data" in said
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(lines[0].keys() >= WATCHED for line in lines)
    assert lines[-1]["feature_std"] < 0.01
    assert lines[-1]["effective_rank"] < 1.5
    assert lines[-1]["data_wait_fraction"] > 0.1


def test_the_likely_cause_of_starvation_depends_on_what_is_left():
    line = {"data_wait_fraction": 0.5}
    assert warnings(line, workers=2, cores=8) == [
        "training waits for data 50% of the time: 2 data.workers on 8 cores, raise them"
    ]
    (said,) = warnings(line, workers=8, cores=8)
    assert "8 data.workers on 8 cores are as many as help: store smaller images" in said


def test_dimensions_that_collapse_are_said_though_embeddings_are_spread():
    line = {"data_wait_fraction": 0.0, "feature_std": 0.9, "effective_rank": 1.4}
    (said,) = warnings(line, workers=1, cores=1)
    assert said.startswith("embeddings collapse to few dimensions (effective rank 1.4)")
    assert warnings({**line, "effective_rank": 9.0}, workers=1, cores=1) == []
