"""One of several processes is killed: the others end in one line; the same command goes on from the bucket alone."""

import os
import signal
import time
from datetime import timedelta

import fsspec
import pytest
from accelerate import InitProcessGroupKwargs

from learning.peers import peers_watched
from manifests.errors import PeerLostError, UserError
from tests.trainer.data import make_dataset
from tests.trainer.killing import Watched, assert_same_state, wait_until
from tests.trainer.processes import pretrain_words
from trainer import pretrain
from trainer.config import RunConfig
from trainer.mirror import Mirror

IMAGES = 192
OPTIONS = {"images": IMAGES, "checkpoint_images": 32, "log_images": 48}
MINUTE_S = 60.0


def watched(data, bucket, notes):
    words = pretrain_words(data, "unused", **OPTIONS)
    words[words.index("--out") + 1] = bucket
    return Watched(words, notes, notes)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_others_end_within_a_minute_and_an_empty_disk_goes_on(tmp_path, monkeypatch, s3_url, world):
    local = make_dataset(tmp_path / "set", groups=24, views=2)
    fsspec.filesystem("s3").put(local, f"{s3_url}/set", recursive=True)
    data, files = f"{s3_url}/set", fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)

    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "one"))
    run = watched(data, f"{s3_url}/run", tmp_path / "notes")
    commands = run.start(world)
    saved = f"{s3_url}/run/checkpoints/ckpt-{64:012d}/DONE"
    assert wait_until(lambda: files.exists(saved), commands), "a process ended before the second checkpoint"
    os.kill(commands[-1].process.pid, signal.SIGKILL)
    began = time.monotonic()
    ends = [command.wait(MINUTE_S) for command in commands[:-1]]
    assert time.monotonic() - began < MINUTE_S
    for code, said in ends:
        assert code == PeerLostError.exit_code, said
        assert "another process of this run is gone" in said
        assert "Traceback" not in said

    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "another machine"))
    run.finish(world)
    there = Mirror(f"{s3_url}/run").folder
    undisturbed = watched(data, f"{s3_url}/whole", tmp_path / "other notes")
    undisturbed.finish(world)
    whole = Mirror(f"{s3_url}/whole").folder
    assert_same_state(there, whole, IMAGES)
    assert undisturbed.sequence().items() <= run.sequence().items()
    lives = fsspec.filesystem("s3", skip_instance_cache=True).glob(f"{s3_url}/run/runs/*.json")
    assert lives, "what a life took is in the bucket"


def test_the_others_wait_for_a_save_into_a_slow_bucket_for_longer_than_nccl_would(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(pretrain, "Accelerator", lambda **options: asked.update(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pretrain.pretrain(RunConfig(precision="float32"), ["data"], tmp_path)
    (waiting,) = (one for one in asked["kwargs_handlers"] if isinstance(one, InitProcessGroupKwargs))
    assert waiting.to_kwargs() == {"timeout": timedelta(hours=1)}


def test_what_is_no_lost_process_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes"), peers_watched(PeerLostError):
        raise RuntimeError("shapes do not fit; Connection closed by peer")  # one process has no peers
    with pytest.raises(UserError, match="a mistake"), peers_watched(PeerLostError):
        raise UserError("a mistake")
