"""A run in a bucket, over HTTP to a real server: killed on one machine, taken up on another, to the same bits."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from learning.checkpoint import load_newest, save
from learning.gather import rank
from manifests.errors import CorruptError, StoreError
from tests.distributed.harness import run_processes
from tests.trainer.data import make_dataset
from tests.trainer.killing import assert_same_state, lines, signal_once, steady_lines
from tests.trainer.processes import pretrain_words, run, start
from trainer.mirror import Mirror, take_up

IMAGES = 160
OPTIONS = {"images": IMAGES, "checkpoint_images": 32, "log_images": 48, "ema_half_life_images": 64}


def words_of(data, bucket):
    words = pretrain_words(data, "unused", **OPTIONS)
    words[words.index("--out") + 1] = bucket
    return words


def kill_after(words, bucket, checkpoint):
    """SIGKILL the run once a checkpoint's weights are in the bucket: about when its DONE is put."""
    command, files = start(words), fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    weights = f"{bucket}/checkpoints/{checkpoint}/tensors.safetensors"
    return signal_once(command, lambda: files.exists(weights), signal.SIGKILL)


def test_a_run_killed_on_one_machine_goes_on_bit_for_bit_on_another(tmp_path, monkeypatch, s3_url):
    data = make_dataset(tmp_path / "set", groups=24, views=2)
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "one machine"))
    code, said = run(words_of(data, f"{s3_url}/whole"))
    assert code == 0, said
    whole = Mirror(f"{s3_url}/whole").folder

    assert kill_after(words_of(data, f"{s3_url}/killed"), f"{s3_url}/killed", "ckpt-000000000064") == -signal.SIGKILL
    (life,) = fsspec.filesystem("s3", skip_instance_cache=True).glob(f"{s3_url}/killed/runs/*.json")
    assert json.loads(fsspec.filesystem("s3").cat(life))["images_seen"] in (32, 64)  # up to its last checkpoint
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "another machine"))
    code, said = run(words_of(data, f"{s3_url}/killed"))
    assert code == 0, said
    there = Mirror(f"{s3_url}/killed").folder
    assert there != whole

    assert_same_state(whole, there, IMAGES)
    assert steady_lines(whole) == steady_lines(there)  # the lines of the first machine have come along
    put = fsspec.filesystem("s3").cat(f"{s3_url}/killed/metrics/ckpt-{IMAGES:012d}.jsonl").decode()
    assert put == (there / "metrics.jsonl").read_text()  # to the last one
    assert [line["images_seen"] for line in lines(there)] == [32, 48, 64, 96, 128, 144, 160]

    shutil.rmtree(there)  # a third machine needs nothing but the bucket
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "third machine"))
    code, said = run(words_of(data, f"{s3_url}/killed"))
    assert code == 0, said
    weights = [folder / "encoder" / "model.safetensors" for folder in (whole, Mirror(f"{s3_url}/killed").folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def checkpoint(folder, number, metrics):
    save(folder / "checkpoints", {"number": number}, images_seen=number, keep_last=99)
    (folder / "metrics.jsonl").write_text(metrics)
    (folder / "config.json").write_text("{}")
    return f"ckpt-{number:012d}"


def on(tmp_path, monkeypatch, machine, bucket, **options):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / machine))
    mirror = Mirror(bucket, **options)
    mirror.folder.mkdir(parents=True, exist_ok=True)
    return mirror


@pytest.fixture
def bucket(tmp_path):
    return f"file://{tmp_path}/bucket"


def test_what_is_not_done_in_the_bucket_does_not_count(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16\n")
    mine.push()
    newer = checkpoint(mine.folder, 32, "16\n32\n")
    mine.push()
    (tmp_path / "bucket" / "checkpoints" / newer / "DONE").unlink()  # killed just before
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    assert [path.name for path in (other.folder / "checkpoints").iterdir()] == ["ckpt-000000000016"]
    assert (other.folder / "metrics.jsonl").read_text() == "16\n"


def test_a_machine_that_had_the_run_earlier_takes_the_newer_metrics_too(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16 here\n24 here\n")
    mine.push()
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    checkpoint(other.folder, 32, "16 here\n24 there\n32 there\n")
    other.push()
    again = on(tmp_path, monkeypatch, "a", bucket)
    again.pull()
    assert (again.folder / "metrics.jsonl").read_text() == "16 here\n24 there\n32 there\n"
    assert (again.folder / "checkpoints" / "ckpt-000000000032" / "DONE").is_file()


def test_a_machine_whose_checkpoint_is_the_newest_keeps_its_own_lines(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16\n")
    mine.push()
    (mine.folder / "metrics.jsonl").write_text("16\n24\n")
    mine.pull()
    assert (mine.folder / "metrics.jsonl").read_text() == "16\n24\n"


def test_checkpoints_that_are_too_old_to_be_kept_are_dropped_there_too(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket, keep_last=1)
    first = checkpoint(mine.folder, 16, "16\n")
    mine.push()
    shutil.rmtree(mine.folder / "checkpoints" / first)
    checkpoint(mine.folder, 32, "32\n")
    mine.push()
    kept = {str(path.relative_to(tmp_path / "bucket")) for path in (tmp_path / "bucket").rglob("*") if path.is_file()}
    assert not any("016" in name for name in kept)
    assert "metrics/ckpt-000000000032.jsonl" in kept


def test_what_a_life_took_is_replaced_there_as_it_goes_on(tmp_path, monkeypatch, bucket):
    mine, there = on(tmp_path, monkeypatch, "a", bucket), tmp_path / "bucket" / "runs" / "life.json"
    (mine.folder / "runs").mkdir()
    for text in ('{"images": 16}', '{"images": 128}'):
        (mine.folder / "runs" / "life.json").write_text(text)
        mine.push()
        assert there.read_text() == text
    (mine.folder / "runs" / "life.json").write_text('{"images": 1024}')  # and the process is killed before it is put
    on(tmp_path, monkeypatch, "a", bucket).push()
    assert there.read_text() == '{"images": 1024}'


def names_in(folder):
    return sorted(path.parent.name for path in folder.glob("checkpoints/*/DONE"))


def test_another_machine_drops_no_checkpoint_that_is_kept_for_good(tmp_path, monkeypatch, bucket):
    rule = {"keep_last": 2, "keep_every_images": 32}
    mine = on(tmp_path, monkeypatch, "a", bucket, **rule)
    for number in (16, 32, 48):
        checkpoint(mine.folder, number, f"{number}\n")
        mine.push()
    other = on(tmp_path, monkeypatch, "b", bucket, **rule)
    other.pull()
    for number in (72, 80, 88):
        checkpoint(other.folder, number, f"{number}\n")
        other.push()
    assert names_in(tmp_path / "bucket") == [f"ckpt-{number:012d}" for number in (32, 72, 80, 88)]


def test_a_machine_that_had_the_run_earlier_puts_no_checkpoint_that_was_dropped(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16\n")
    mine.push()
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    for number in (32, 48):
        checkpoint(other.folder, number, f"{number}\n")
        other.push()
    again = on(tmp_path, monkeypatch, "a", bucket)
    again.pull()
    again.push()
    assert names_in(tmp_path / "bucket") == ["ckpt-000000000032", "ckpt-000000000048"]


def spoil(bucket, name):
    """Flip a byte of a checkpoint that counts."""
    path = Path(bucket.removeprefix("file://")) / "checkpoints" / name / "state.json"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def three_in(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket, keep_last=3)
    for number in (16, 32, 48):
        checkpoint(mine.folder, number, f"{number}\n")
        mine.push()
    return mine


def test_a_broken_newest_checkpoint_is_said_and_an_older_whole_one_taken(tmp_path, monkeypatch, bucket, caplog):
    three_in(tmp_path, monkeypatch, bucket)
    for name in ("ckpt-000000000032", "ckpt-000000000048"):
        spoil(bucket, name)
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    assert load_newest(other.folder / "checkpoints") == (16, {"number": 16})
    assert (other.folder / "metrics.jsonl").read_text() == "16\n"
    assert f"skipped the checkpoint {bucket}/checkpoints/ckpt-000000000048" in caplog.text
    assert "ckpt-000000000032" in caplog.text


def test_a_run_that_went_back_replaces_what_was_broken_in_the_bucket(tmp_path, monkeypatch, bucket):
    three_in(tmp_path, monkeypatch, bucket)
    for name in ("ckpt-000000000032", "ckpt-000000000048"):
        spoil(bucket, name)
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    for number in (24, 48):  # one that was never there, and one in the place of a broken one
        checkpoint(other.folder, number, f"{number} again\n")
        other.push()
    assert names_in(tmp_path / "bucket") == ["ckpt-000000000024", "ckpt-000000000048"]
    third = on(tmp_path, monkeypatch, "c", bucket)
    third.pull()
    assert load_newest(third.folder / "checkpoints") == (48, {"number": 48})
    assert (third.folder / "metrics.jsonl").read_text() == "48 again\n"


def test_without_any_whole_checkpoint_nothing_begins_anew(tmp_path, monkeypatch, bucket):
    three_in(tmp_path, monkeypatch, bucket)
    for number in (16, 32, 48):
        spoil(bucket, f"ckpt-{number:012d}")
    other = on(tmp_path, monkeypatch, "b", bucket)
    with pytest.raises(CorruptError, match=r"none of the 3 checkpoints there and in .* is whole; restore one"):
        other.pull()


def test_a_twin_that_is_broken_here_is_brought_again(tmp_path, monkeypatch, bucket):
    mine = three_in(tmp_path, monkeypatch, bucket)
    spoil(str(mine.folder), "ckpt-000000000048")
    mine.pull()
    assert load_newest(mine.folder / "checkpoints") == (48, {"number": 48})


def test_what_a_killed_machine_left_of_a_checkpoint_or_export_does_not_mix_with_anothers(tmp_path, monkeypatch, bucket):
    mine = three_in(tmp_path, monkeypatch, bucket)
    left = {"checkpoints/ckpt-000000000064/state.json": "{}  ", "metrics/ckpt-000000000064.jsonl": "x\n"}
    left["encoder/model.safetensors"] = "half"
    for name, text in left.items():
        (tmp_path / "bucket" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bucket" / name).write_text(text)
    checkpoint(mine.folder, 64, "64\n")
    (mine.folder / "encoder").mkdir()
    for name in ("model.safetensors", "viewmill.json"):
        (mine.folder / "encoder" / name).write_text("whole")
    mine.push()
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    assert load_newest(other.folder / "checkpoints") == (64, {"number": 64})
    assert (other.folder / "metrics.jsonl").read_text() == "64\n"
    assert (other.folder / "encoder" / "model.safetensors").read_text() == "whole"


def test_a_command_says_what_it_passes_over_and_refuses_to_begin_anew(tmp_path, monkeypatch):
    bucket, data = f"file://{tmp_path}/bucket", make_dataset(tmp_path / "set", groups=24, views=2)
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "one machine"))
    code, said = run(words_of(data, bucket))
    assert code == 0, said
    shutil.rmtree(tmp_path / "bucket" / "encoder")
    spoil(bucket, "ckpt-000000000160")
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "another machine"))
    code, said = run(words_of(data, bucket))
    assert code == 0, said
    assert f"skipped the checkpoint {bucket}/checkpoints/ckpt-000000000160" in said
    assert f"{32}/{IMAGES} images" not in said
    assert f"{IMAGES}/{IMAGES} images" in said

    shutil.rmtree(tmp_path / "bucket" / "encoder")
    for name in names_in(tmp_path / "bucket"):
        spoil(bucket, name)
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "third machine"))
    code, said = run(words_of(data, bucket))
    assert code == 3
    assert said.splitlines()[-1].startswith(f"error: {bucket}/checkpoints: none of the 2 checkpoints there and in")


def two_nodes(folder, bucket, broken):
    """Every rank is a node of its own; the first one has a checkpoint that the bucket lacks."""
    os.environ["VIEWMILL_CACHE"] = f"{folder}/node {rank()}"
    mirror = Mirror(bucket)
    if rank() == 0:
        checkpoint(mirror.folder, 16, "16\n")
    if rank() == broken:
        mirror.pull = out_of_reach
    try:
        take_up(mirror, SimpleNamespace(is_main_process=rank() == 0, is_local_main_process=True, device="cpu"))
    except StoreError as error:
        return {"error": str(error)}
    return {"names": names_in(mirror.folder), "metrics": (mirror.folder / "metrics.jsonl").read_text()}


def out_of_reach():
    raise StoreError("the network is down")


def test_every_node_takes_up_the_first_ones_checkpoint(tmp_path, bucket):
    found = run_processes(2, two_nodes, str(tmp_path), bucket, -1)
    assert found == [{"names": ["ckpt-000000000016"], "metrics": "16\n"}] * 2


@pytest.mark.parametrize("broken", [0, 1])
def test_nobody_waits_for_a_node_that_cannot_reach_the_bucket(tmp_path, bucket, broken):
    found = run_processes(2, two_nodes, str(tmp_path), bucket, broken)
    assert found[broken] == {"error": "the network is down"}
    assert found[1 - broken] == {
        "error": "another process could not bring the run from its bucket; its own message says why"
    }
