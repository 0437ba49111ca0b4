"""Read a pickle without running anything of it: a stack machine of our own that knows the opcodes of plain data.

The interpreter's unpickler calls what a file names. Here a global is a name, looked up in a table of our functions;
all others are refused by name, and so are all opcodes that the official files do not need. Lengths are compared with
what is left of the file before memory is taken for them.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from manifests.terminal import printable

MAX_OPCODES = 1_000_000  # official files have 50,000
MAX_MEMO = 200_000
MAX_MARKS = 1_000
MAX_LINE_BYTES = 1_000  # of a global's name or a number in text

Build = Callable[..., Any]


class RefusedPickleError(ValueError):
    """A pickle that is broken, too large, or asks for more than plain data."""


@dataclass(frozen=True)
class Global:
    """A name in the file that is on the list, and the function of ours that stands for it."""

    name: str
    build: Build


class Source:
    """A file of known size, which never reads beyond its end nor takes memory for what is not there."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._size_bytes, self._position = file, size_bytes, 0

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        if count > self._size_bytes - self._position:
            raise RefusedPickleError(f"cut short: {count:,} bytes are missing at byte {self._position:,}")
        return self._advanced(self._file.read(count))

    def readline(self) -> bytes:
        line = self._advanced(self._file.readline(MAX_LINE_BYTES))
        if not line.endswith(b"\n"):
            raise RefusedPickleError(f"a line without end at byte {self._position:,}")
        return line

    def _advanced(self, data: bytes) -> bytes:
        self._position += len(data)
        return data


def read_pickle(
    source: Source, globals_: Mapping[tuple[str, str], Build], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle up to its STOP; `persistent` resolves persistent ids, which are refused without it.

    Raises: RefusedPickleError that names the global, the opcode or the limit.
    """
    machine = _Machine(globals_, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], source))):
            if count >= MAX_OPCODES:
                raise RefusedPickleError(f"more than {MAX_OPCODES:,} opcodes")
            machine.step(opcode.name, argument)
    except RefusedPickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise RefusedPickleError(f"no whole pickle: {_short(error)}") from None
    return machine.result()


class _Machine:
    """The unpickler's stack, marks and memo, for plain data and the globals of a table."""

    def __init__(self, globals_: Mapping[tuple[str, str], Build], persistent: Callable[[Any], Any] | None) -> None:
        self._globals, self._persistent = globals_, persistent
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _MADE:
            self._stack.append(_MADE[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise RefusedPickleError(f"opcode {name} is refused")

    def result(self) -> Any:
        if len(self._stack) != 1 or self._marks:
            raise RefusedPickleError("no whole pickle: things are left over at its end")
        return self._stack[0]

    def mark(self, _: Any) -> None:
        if len(self._marks) >= MAX_MARKS:
            raise RefusedPickleError(f"nested deeper than {MAX_MARKS:,} levels")
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def tuple_of_mark(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("the stack is too short")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise RefusedPickleError(f"appends to a {type(target).__name__}")
        target.extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise RefusedPickleError(f"sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # hashing nested tuples can take for ever
                raise RefusedPickleError(f"a {type(key).__name__} as a key")
            target[key] = value

    def put(self, index: int | None) -> None:
        if len(self._memo) >= MAX_MEMO:
            raise RefusedPickleError(f"more than {MAX_MEMO:,} memo entries")
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedPickleError(f"memo entry {index} does not exist")
        self._stack.append(self._memo[index])

    def global_in_line(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self._stack.append(self._found(module, name))

    def global_on_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise RefusedPickleError("a global whose name is no text")
        self._stack.append(self._found(module, name))

    def refused_global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        raise RefusedPickleError(f"the global {_full(module, name)} is refused")

    def _found(self, module: str, name: str) -> Global:
        build = self._globals.get((module, name))
        if build is None:
            raise RefusedPickleError(f"the global {_full(module, name)} is refused")
        return Global(_full(module, name), build)

    def call(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global):
            raise RefusedPickleError(f"calls a {type(function).__name__}")
        if type(arguments) is not tuple:
            raise RefusedPickleError(f"calls {function.name} with a {type(arguments).__name__}")
        try:
            self._stack.append(function.build(*arguments))
        except (TypeError, ValueError) as error:
            raise RefusedPickleError(f"{function.name}: {_short(error)}") from None

    def set_state(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if not isinstance(target, Stateful):
            raise RefusedPickleError(f"sets the state of a {type(target).__name__}")
        target.set_state(state)

    def persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise RefusedPickleError("a persistent id is refused")
        self._stack.append(self._persistent(self._stack.pop()))


class Stateful:
    """What a BUILD opcode may be applied to."""

    def set_state(self, state: Any) -> None:
        """Take what the file says about this object; by default it is forgotten."""


_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_VALUES = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # a list hashes nothing
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_of_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_in_line,
    "STACK_GLOBAL": _Machine.global_on_stack,
    "INST": _Machine.refused_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.set_state,
    "BINPERSID": _Machine.persistent_id,
}


def _full(module: str, name: str) -> str:
    return printable(f"{module}.{name}"[:120])


def _short(error: Exception) -> str:
    return printable(" ".join(str(error).split())[:200])
