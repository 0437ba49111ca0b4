"""A row file is read as what its version promises, and a small one never unfolds to more than the limit."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import rows as row_files
from manifests.errors import CorruptError, UserError
from manifests.rows import read_rows, write_rows
from manifests.schema import VIEW_SCHEMA

LIMIT = 1 << 20


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, compression="zstd", dictionary_pagesize_limit=1 << 30, **options)
    return path


def refuse_decoding(monkeypatch):
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("decoded"))


@pytest.mark.parametrize("expected", [2, 4, 0])
def test_another_number_of_rows_is_an_error_before_anything_is_decoded(tmp_path, monkeypatch, expected):
    refuse_decoding(monkeypatch)
    file = write(tmp_path / "a.parquet", {"view": [0, 1, 2]})
    with pytest.raises(CorruptError, match=rf"^views/a: no readable row file: 3 rows, expected {expected}$"):
        read_rows(file, expected=expected, label="views/a")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": pa.array(["x" * (LIMIT + 1)])}, "its columns unfold to 1048"),
        ({"latent": pa.array([[0.0] * (LIMIT // 8 + 1)], pa.list_(pa.float32()))}, "its columns unfold to 10485"),
        ({"group": pa.array([0] * (LIMIT // 8 + 1))}, "its columns unfold to 10485"),
        ({f"x_{number}": [0] for number in range(1001)}, "1001 columns, expected at most 1000"),
    ],
    ids=["text", "list", "rows", "columns"],
)
def test_a_footer_that_tells_of_too_much_is_an_error_before_anything_is_decoded(
    tmp_path, monkeypatch, columns, message
):
    refuse_decoding(monkeypatch)
    monkeypatch.setattr(row_files, "MOST_BYTES", LIMIT)
    file = write(tmp_path / "a.parquet", columns)
    assert file.stat().st_size < LIMIT // 2
    with pytest.raises(CorruptError, match=message):
        read_rows(file)


UNFOLDED = """
import re, sys
from pathlib import Path
from manifests import rows

def peak_kib():  # not getrusage, whose peak is the parent's at first
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

rows.MOST_BYTES = 2 << 20
rows.read_rows(Path(sys.argv[1]), expected=1)
before = peak_kib()
try:
    rows.read_rows(Path(sys.argv[2]), expected=1000)
except rows.CorruptError as error:
    print(error)
print((peak_kib() - before) // 1024)
"""


@pytest.mark.parametrize("kind", ["dictionary", "prefixes", "stored as a dictionary", "list"])
def test_a_text_that_is_repeated_in_every_row_never_fills_the_memory(tmp_path, kind):
    text = "x" * (1 << 18)
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([text]))
    columns, options = {"prompt": repeated}, {}
    if kind == "dictionary":
        options = {"store_schema": False}
    elif kind == "prefixes":  # text after text says how much it shares with the one before
        columns = {"prompt": pa.array([text] * 1000)}
        options = {"use_dictionary": False, "column_encoding": {"prompt": "DELTA_BYTE_ARRAY"}}
    elif kind == "list":
        columns = {"x_words": pa.ListArray.from_arrays(pa.array(range(1001), pa.int32()), repeated)}
        options = {"store_schema": False}
    write(tmp_path / "small.parquet", {"prompt": ["a"]})
    bomb = write(tmp_path / "bomb.parquet", columns, **options)
    assert bomb.stat().st_size < 1 << 20
    command = [sys.executable, "-c", UNFOLDED, str(tmp_path / "small.parquet"), str(bomb)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    message, grown_mib = told.stdout.splitlines()
    assert message.endswith("its rows unfold to more than 2097152 bytes")
    assert int(grown_mib) < 100  # of 250


def test_rows_come_whole_and_in_order_however_few_are_decoded_at_once(tmp_path, monkeypatch):
    prompts = [f"{number} {'x' * 1000}" for number in range(300)]
    file = write(tmp_path / "a.parquet", {"prompt": prompts, "view": list(range(300))}, row_group_size=128)
    monkeypatch.setattr(row_files, "MOST_BYTES", LIMIT)
    batches, decode = [], pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, n, **options: (batches.append(n), decode(self, n, **options))[1]
    )
    table = read_rows(file, expected=300)
    assert batches[0] < 10
    assert (table["prompt"].to_pylist(), table["view"].to_pylist()) == (prompts, list(range(300)))
    assert table.schema == VIEW_SCHEMA
    assert read_rows(file, ["sigma"]).to_pydict() == {"sigma": [None] * 300}


def test_a_shard_of_more_than_readers_take_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "MOST_BYTES", LIMIT)
    with pytest.raises(UserError, match=r"1 rows take \d+ bytes: at most 1048576; put fewer in a shard"):
        write_rows(pa.table({"prompt": ["x" * LIMIT]}), tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()
