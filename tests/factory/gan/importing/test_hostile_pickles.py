"""Pickles that want to run something, or to eat the machine: each is refused in one line, and nothing happens."""

import builtins
import importlib
import io
import os
import pickle
import re
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.gan.importing.nvidia import import_pickle
from factory.gan.importing.pickles import MAX_LINE_BYTES, MAX_MEMO, MAX_OPCODES
from manifests.errors import UserError
from tests.factory.gan.importing import official_layout as layout
from tests.factory.gan.importing import official_networks as official

MB = 1 << 20


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that comes into being if anything at all is run."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def refuse(tmp_path: Path, data: bytes, told: str | None = None) -> str:
    """Import bytes that must be refused in one line, quickly and in little memory."""
    path = tmp_path / "hostile.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    began_s = time.monotonic()
    try:
        with pytest.raises(UserError, match=told) as error:
            import_pickle(path, tmp_path / "out")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 800
    assert message.startswith(str(path))
    assert not (tmp_path / "out").exists()
    assert peak_bytes < 30 * len(data) + 32 * MB
    assert time.monotonic() - began_s < 30
    return message


class Calls:
    """Is pickled as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = (function, arguments)

    def __reduce__(self) -> Any:
        return self.called


def test_the_canary_sings_where_a_stock_unpickler_reads(tmp_path: Path) -> None:
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Calls(os.system, f"touch {path}")))  # noqa: S301
    assert path.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, r"(posix|nt)\.system"),
        (builtins.eval, r"(builtins|__builtin__)\.eval"),
        (builtins.exec, r"(builtins|__builtin__)\.exec"),
        (importlib.import_module, r"importlib\.import_module"),
    ],
)
def test_calls_are_refused_by_name(tmp_path: Path, canary: Path, protocol: int, function: Any, name: str) -> None:
    text = f"touch {canary}" if function is os.system else f"open({str(canary)!r}, 'w')"
    told = refuse(tmp_path, pickle.dumps({"G_ema": Calls(function, text)}, protocol))
    if protocol >= 2:
        assert re.search(f"the global {name} is refused", told)


def test_the_oldest_protocol_is_refused_by_name_too(tmp_path: Path, canary: Path) -> None:
    refuse(tmp_path, f"cos\nsystem\n(S'touch {canary}'\ntR.".encode(), r"the global os\.system is refused")
    refuse(tmp_path, f"(S'touch {canary}'\nios\nsystem\n.".encode(), "opcode STRING is refused")
    refuse(tmp_path, b"(ios\nsystem\n.", r"the global os\.system is refused")
    refuse(tmp_path, b"(cos\nsystem\nX\x01\x00\x00\x00ao.", r"the global os\.system is refused")


@pytest.mark.parametrize(
    "name",
    [
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("dnnlib.util", "construct_class_by_name"),
        ("dnnlib.util", "call_func_by_name"),
        ("torch_utils.persistence", "_src_to_module"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("copyreg", "_reconstructor"),
        ("numpy", "load"),
        ("torch", "FloatStorage"),
        ("", ""),
        ("\x1b]0;owned\x07", "x" * 500),
    ],
)
def test_names_beside_the_listed_ones_are_refused(tmp_path: Path, name: tuple[str, str]) -> None:
    module, member = name
    data = b"\x80\x04" + text(module) + text(member) + b"\x93)R."
    told = refuse(tmp_path, data, "the global .* is refused")
    assert "\x1b" not in told
    assert "\x07" not in told


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def test_a_call_inside_of_an_allowed_call_is_refused(tmp_path: Path, canary: Path) -> None:
    inner = Calls(os.system, f"touch {canary}")
    for function in (torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter, torch.storage._load_from_bytes):
        refuse(
            tmp_path, pickle.dumps({"G_ema": Calls(function, inner, 0, (1,), (1,), False, {})}), r"\.system is refused"
        )
    nested = Calls(os.system, Calls(os.system, Calls(os.system, f"touch {canary}")))
    refuse(tmp_path, pickle.dumps(nested), r"\.system is refused")


def payload_of(thing: Any, protocol: int = 2) -> bytes:
    """Imitate torch.save's old format up to the place where the storage is described."""
    start = [pickle.dumps(value, protocol) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(start) + (thing if isinstance(thing, bytes) else pickle.dumps(thing, protocol))


def with_payload(payload: bytes) -> bytes:
    return pickle.dumps({"G_ema": Calls(torch.storage._load_from_bytes, payload)}, 4)


def test_calls_inside_of_a_storage_are_refused(tmp_path: Path, canary: Path) -> None:
    evil = Calls(os.system, f"touch {canary}")
    refuse(tmp_path, with_payload(payload_of(evil)), r"\.system is refused")
    refuse(tmp_path, with_payload(pickle.dumps(evil)), r"\.system is refused")
    buffer = io.BytesIO()
    torch.save({"x": evil}, buffer)
    refuse(tmp_path, with_payload(buffer.getvalue()), r"\.system is refused")
    refuse(tmp_path, with_payload(payload_of(b"\x80\x02ctorch\nFloatStorage\n)R.")), "made by calling its type")


def test_embedded_source_is_never_run(tmp_path: Path, canary: Path) -> None:
    source = f"open({str(canary)!r}, 'w').close()\n"
    _, pickled = official.stylegan2()
    pickled.meta["module_src"] = source
    import_pickle(layout.write(tmp_path / "n.pkl", official.whole(pickled)), tmp_path / "out")
    exec(source)
    assert canary.exists()  # so it would have been seen
    canary.unlink()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x80\x04\x82\x01.", "opcode EXT1 is refused"),
        (b"\x80\x04\x83\x01\x00.", "opcode EXT2 is refused"),
        (b"\x80\x04\x84\x01\x00\x00\x00.", "opcode EXT4 is refused"),
        (b"Pos.system\n.", "opcode PERSID is refused"),
        (b"\x80\x04X\x01\x00\x00\x00aQ.", "a persistent id is refused"),
        (b"\x80\x04]2.", "opcode DUP is refused"),
        (b"\x80\x04]]0.", "opcode POP is refused"),
        (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "opcode NEWOBJ_EX is refused"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER is refused"),
        (b"\x80\x04}}b.", "sets the state of a dict"),
        (b"\x80\x04ccollections\nOrderedDict\n}b.", "sets the state of a Global"),
        (b"\x80\x04ccollections\nOrderedDict\n)R}b.", "sets the state of a dict"),
        (b"\x80\x04cbuiltins\nset\n}R.", "calls builtins.set with a dict"),
        (b"\x80\x04K\x01)R.", "calls a int"),
        (b"\x80\x04})R.", "calls a dict"),
        (b"\x80\x04})\x81.", "calls a dict"),
        (b"\x80\x04ccollections\nOrderedDict\nK\x01\x85R.", "a table that is not filled item by item"),
        (b"\x80\x04}K\x01a.", "appends to a dict"),
        (b"\x80\x04]K\x01K\x02s.", "sets items of a list"),
        (b"\x80\x04})K\x02s.", "a tuple as a key"),
        (b"\x80\x04K\x01K\x02\x93.", "whose name is no text"),
        (b"\x80\x04h\x07.", "memo entry 7 does not exist"),
        (b"\x80\x04a.", "no whole pickle"),
        (b"\x80\x04\x85.", "no whole pickle"),
        (b"\x80\x04t.", "no whole pickle"),
        (b"\x80\x04.", "left over"),
        (b"\x80\x04]].", "left over"),
        (b"\x80\x04(].", "left over"),
        (b"", "cut short"),
        (b"PK\x03\x04 a checkpoint of another kind", "refused"),
        (b"\x89PNG\r\n\x1a\n", "refused"),
        (b"c" + b"x" * (MAX_LINE_BYTES + 5), "a line without end"),
    ],
)
def test_tricks_with_opcodes_are_refused(tmp_path: Path, data: bytes, told: str) -> None:
    refuse(tmp_path, data, told)


def test_a_tensorflow_network_is_told_how_to_be_converted(tmp_path: Path) -> None:
    told = refuse(tmp_path, b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81}b.", "dnnlib.tflib.network.Network")
    assert "legacy.py" in told


@pytest.mark.parametrize("claimed", [2**31 - 1, 2**40, 2**62, 2**63 + 5])
@pytest.mark.parametrize("opcode", [b"\x8e", b"\x8d", b"\x96"])
def test_lengths_are_compared_with_the_file_before_memory_is_taken(tmp_path: Path, opcode: bytes, claimed: int) -> None:
    refuse(tmp_path, b"\x80\x05" + opcode + struct.pack("<Q", claimed) + b"short.", "cut short|no whole pickle")


def test_a_long_number_and_a_far_memo_take_no_memory(tmp_path: Path) -> None:
    refuse(tmp_path, b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b".", "cut short")
    refuse(tmp_path, b"\x80\x04]r\xff\xff\xff\xff.", "holds no network")


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    call = Calls(torch._utils._rebuild_tensor_v2, typed, offset, shape, strides, False, OrderedDict())
    return pickle.dumps({"G_ema": call}, 4)


@pytest.mark.parametrize(
    "view",
    [
        ((2**40,), (0,), 0),
        ((2**20, 2**20, 2**20, 2**20), (0, 0, 0, 0), 0),
        ((4,), (2,), 0),
        ((2,), (1,), 3),
        ((1,), (1,), 4),
        ((-1,), (1,), 0),
        ((2,), (-1,), 1),
        ((1,) * 9, (1,) * 9, 0),
        ((2,), (1, 1), 0),
        ((2.0,), (1,), 0),
        ((2**62, 2**62), (1, 1), 0),
    ],
)
def test_tensors_stay_inside_of_their_storage(tmp_path: Path, view: tuple[Any, Any, int]) -> None:
    refuse(tmp_path, tensor(*view), "a tensor (of|whose)|tensor without")


def storage_claiming(count: int, numbers: bytes, written: int | None = None) -> bytes:
    described = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    described += b"\x8a\x08" + struct.pack("<q", count) + b"NtQ."
    keys = pickle.dumps(["0"], 2)
    return payload_of(described + keys + struct.pack("<q", count if written is None else written) + numbers)


def test_storages_hold_what_they_say(tmp_path: Path) -> None:
    refuse(tmp_path, with_payload(storage_claiming(2**40, b"\0" * 16)), "cut short: a storage of")
    refuse(tmp_path, with_payload(storage_claiming(5, b"\0" * 16)), "cut short: a storage of 20 bytes has 16")
    refuse(tmp_path, with_payload(storage_claiming(4, b"\0" * 16, 5)), "two sizes")
    refuse(tmp_path, with_payload(storage_claiming(-1, b"")), "describes no storage")
    refuse(tmp_path, with_payload(storage_claiming(4, b"\0" * 16)), "holds no network")  # this one is right


def test_a_storage_is_not_loaded_again_and_again(tmp_path: Path) -> None:
    payload = storage_claiming(MB // 4, b"\0" * MB)
    load = b"ctorch.storage\n_load_from_bytes\nq\x00"
    once = b"B" + struct.pack("<I", len(payload)) + payload + b"q\x01"
    again = b"h\x00h\x01\x85R"
    data = b"\x80\x03(" + load + once + b"\x85R" + again * 100_000 + b"t."
    refuse(tmp_path, data, "again and again")


def zipped(compression: int, numbers: bytes, count: int, extra: int = 0) -> bytes:
    described = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    described += b"\x8a\x08" + struct.pack("<q", count) + b"tQ."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", described)
        archive.writestr("archive/data/0", numbers)
        for i in range(extra):
            archive.writestr(f"archive/extra/{i}", b"")
    return buffer.getvalue()


def test_zipped_storages_do_not_blow_up(tmp_path: Path) -> None:
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_DEFLATED, bytes(64 * MB), 16 * MB)), "unpacks to more|compressed")
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_DEFLATED, bytes(8), 2)), "compressed|unpacks to more")
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_STORED, bytes(8), 3)), "a storage of 12 bytes has 8")
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_STORED, bytes(8), 2, extra=99)), "unpacks to more")
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_STORED, bytes(8), 2)[:-30]), "archive is broken")
    refuse(tmp_path, with_payload(zipped(zipfile.ZIP_STORED, bytes(8), 2)), "holds no network")  # this one is right


def laughs(kind: bytes, levels: int) -> bytes:
    """Nest pairs of one thing: 2^levels ends, if someone walked all of them."""
    data = b"\x80\x04" + (b"]" if kind == b"e" else b")") + b"\x94"
    for i in range(levels):
        one = b"h" + bytes([i])
        data += b"](" + one + one + b"e\x94" if kind == b"e" else one + one + b"\x86\x94"
    return data


def test_a_billion_laughs_are_not_laughed(tmp_path: Path) -> None:
    for kind in (b"e", b"t"):
        top = b"h\xc8"
        refuse(tmp_path, b"\x80\x04(" + laughs(kind, 200)[2:] + top + b"t.", "holds no network")
        as_key = b"\x80\x04(" + laughs(kind, 200)[2:] + b"}" + top + b"K\x01st."
        refuse(tmp_path, as_key, "as a key")


def test_modules_that_hold_each_other_do_not_walk_for_ever(tmp_path: Path) -> None:
    _, pickled = official.stylegan2()
    modules = pickled.meta["state"]["_modules"]
    twice: Any = layout.Persistent("Layer", {"_modules": {}})
    for _ in range(15):
        twice = layout.Persistent("Layer", {"_modules": {str(i): twice for i in range(10)}})
    modules["more"] = twice
    refuse(tmp_path, layout.dumped({"G_ema": pickled}), "more than 10,000 modules")
    deep: Any = layout.Persistent("Layer", {"_modules": {}})
    for _ in range(50):
        deep = layout.Persistent("Layer", {"_modules": {"0": deep}})
    modules["more"] = deep
    refuse(tmp_path, layout.dumped({"G_ema": pickled}), "nested deeper")


def test_limits_hold_for_marks_memo_and_opcodes(tmp_path: Path) -> None:
    refuse(tmp_path, b"\x80\x04" + b"(" * 5000 + b".", "nested deeper than")
    refuse(tmp_path, b"\x80\x04N" + b"\x94" * (MAX_MEMO + 1) + b".", "memo entries")
    refuse(tmp_path, b"\x80\x04" + b"N" * MAX_OPCODES + b".", "opcodes")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return official.snapshot(tmp_path_factory.mktemp("good") / "n.pkl").read_bytes()


def test_a_cut_file_is_one_clear_error_wherever_it_is_cut(tmp_path: Path, good: bytes) -> None:
    for cut in range(0, len(good), len(good) // 20):
        refuse(tmp_path, good[:cut], "cut short|no whole pickle")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_flipped_byte_is_an_error_or_another_number(tmp_path: Path, good: bytes, where: float, value: int) -> None:
    flipped = bytearray(good)
    flipped[int(where * len(good))] = value
    path, out = tmp_path / "flipped.pkl", tmp_path / os.urandom(8).hex()
    path.write_bytes(flipped)
    with suppress(UserError):
        import_pickle(path, out)
