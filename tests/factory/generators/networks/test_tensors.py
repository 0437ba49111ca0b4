"""Weights from other people's files: read as data, renamed, every tensor in its place; hostile files run nothing."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from factory.generators.networks.tensors import load_into, read_tensors, renamed
from manifests.errors import UserError

TABLE = {"main.0.weight": torch.arange(6.0).reshape(2, 3), "main.0.bias": torch.ones(2)}


def refusal(path: Path, key: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_tensors(path, key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".tar", ".bin"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickled_state_dict_is_read_as_data(tmp_path: Path, suffix: str, is_zip: bool) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save({"netG": TABLE, "epoch": 3}, path, _use_new_zipfile_serialization=is_zip)
    found = read_tensors(path, "netG")
    assert found.keys() == TABLE.keys()
    assert all(torch.equal(found[name], TABLE[name]) for name in TABLE)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TABLE, tmp_path / "w.safetensors")
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["main.0.bias"], torch.ones(2))


class Canary:
    """What a hostile pickle holds: a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path: Path, is_zip: bool) -> None:
    path, canary = tmp_path / "weights.pth", tmp_path / "canary"
    torch.save({"a": Canary(canary)}, path, _use_new_zipfile_serialization=is_zip)
    assert refusal(path).endswith(
        "cannot read it: Trying to load unsupported GLOBAL posix.system whose module posix is blocked."
    )
    assert not canary.exists()


def test_a_bare_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, canary = tmp_path / "weights.tar", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Canary(canary), protocol=2))
    assert "posix.system" in refusal(path)
    assert not canary.exists()


def test_an_archive_that_unpacks_to_more_than_it_weighs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1 << 18)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert "that unpack to 1,04" in refusal(path)


def test_one_number_repeated_a_billion_times_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 30)}, tmp_path / "weights.pt")
    assert "'a' is no plain tensor" in refusal(tmp_path / "weights.pt")


def test_a_cut_file_an_absent_one_and_noise_are_refused(tmp_path: Path) -> None:
    torch.save(TABLE, tmp_path / "whole.pt")
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / "whole.pt").read_bytes()[:300])
        assert name in refusal(tmp_path / name)
    assert "no such file" in refusal(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("value", "key", "told"),
    [
        ({"netG_state_dict": TABLE}, "netG", "no weights_key 'netG' in it; known here: netG_state_dict"),
        ({"netG_state_dict": TABLE}, None, "a table inside is chosen by weights_key"),
        ([torch.ones(1)], None, "holds a list, expected a table of tensors by name"),
        ({"a": 3}, None, "'a' is a int, expected a tensor"),
        ({"a": torch.eye(2).to_sparse()}, None, "'a' is no plain tensor"),
    ],
)
def test_what_is_no_table_of_tensors_is_refused(tmp_path: Path, value: Any, key: str | None, told: str) -> None:
    torch.save(value, tmp_path / "weights.pt")
    assert told in refusal(tmp_path / "weights.pt", key)


def test_the_longest_known_prefix_is_exchanged_and_counters_are_left_out() -> None:
    theirs = {"main.1.weight": torch.ones(1), "main.10.weight": torch.zeros(1), "main.1.num_batches_tracked": TABLE}
    ours = renamed({**theirs, "other": torch.ones(2)}, {"a.norm": "main.1", "b": "main", "c.deep": "main.10"})  # type: ignore[dict-item]
    assert ours.keys() == {"a.norm.weight", "c.deep.weight", "other"}


def test_all_tensors_find_their_place_in_float32() -> None:
    layer = nn.Linear(3, 2)
    load_into(layer, {name[7:]: tensor.half() for name, tensor in TABLE.items()}, "here")
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, TABLE["main.0.weight"])


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"weight": torch.ones(2, 3)}, "here: lacks bias"),
        (TABLE | {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "has no place for main.0.bias, main.0.weight"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, "weight has shape (3, 2), expected (2, 3)"),
    ],
)
def test_a_tensor_too_few_too_many_or_of_another_shape_is_one_line(tensors: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_into(nn.Linear(3, 2), tensors, "here")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
