"""Pickles read as data: an interpreter of the opcodes that builds plain values and calls nothing.

Python's own unpickler imports names and calls them; even a restricted one runs code of the classes it lets through.
This one knows no Python object that it could call: a name in the pickle becomes a `Name`, calling one becomes a `Call`
that records name and arguments. What is on the allow-list is decided by the caller, and nothing off it gets that far.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rfkernels.errors import CheckpointError

Value: TypeAlias = Any

_MOST_OPCODES = 5_000_000
_MOST_NESTED_MARKS = 1000
# Integer keys stay where a hash is the number itself, so that no file can choose keys that all collide.
_LARGEST_INTEGER_KEY = 2**53


@dataclass(frozen=True)
class Name:
    """A global name, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return repr(f"{self.module}.{self.name}"[:200])


@dataclass(eq=False)
class Call:
    """What an object would have been made of: called name, arguments, and the state given to it afterwards."""

    name: Name
    arguments: Value
    state: Value = None
    items: list[Value] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside the pickle: in torch's files, a storage."""

    identifier: Value


class _Mark:
    pass


_MARK = _Mark()


def read_pickle(data: bytes, allowed: Callable[[Name], bool]) -> Value:
    """Interpret one pickle (protocols 2 to 5).

    Args:
        allowed: whether a global name may occur at all.
    Returns:
        Plain values, lists, tuples and dicts; `Name`, `Call` and `Persistent` for the rest. Objects may be shared, and
        cycles are possible, as in any pickle: whoever walks the result must bound the walk.
    Raises:
        CheckpointError: a name that is not allowed, an unknown or malformed opcode, or a pickle that is truncated.
    """
    return _Interpreter(data, allowed).run()


class _Interpreter:
    def __init__(self, data: bytes, allowed: Callable[[Name], bool]) -> None:
        self._data = data
        self._allowed = allowed
        self._position = 0
        self._stack: list[Value] = []
        self._memo: dict[int, Value] = {}
        self._marks: list[int] = []

    def run(self) -> Value:
        data, handlers = self._data, _HANDLERS
        for _ in range(_MOST_OPCODES):
            if self._position >= len(data):
                raise CheckpointError("pickle: ends before its STOP")
            opcode = data[self._position]
            self._position += 1
            if opcode == 0x2E:  # STOP
                return self._pop()
            handler = handlers.get(opcode)
            if handler is None:
                raise CheckpointError(
                    f"pickle: opcode 0x{opcode:02x} at byte {self._position - 1} is not one that torch.save writes; "
                    "nothing was executed"
                )
            handler(self)
        raise CheckpointError(f"pickle: more than {_MOST_OPCODES} opcodes")

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if count < 0 or end > len(self._data):
            raise CheckpointError("pickle: an argument reaches past its end")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _number(self, format_: str) -> int:
        return int(struct.unpack(format_, self._take(struct.calcsize(format_)))[0])

    def _text(self, count: int) -> str:
        try:
            return self._take(count).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"pickle: a text is not UTF-8: {error}") from error

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position, self._position + 1000)
        if end < 0:
            raise CheckpointError("pickle: a name does not end")
        line = self._text(end - self._position)
        self._position += 1
        return line

    def _pop(self) -> Value:
        if not self._stack or (self._marks and len(self._stack) <= self._marks[-1] + 1):
            raise CheckpointError("pickle: takes a value from an empty stack")
        return self._stack.pop()

    def _top(self) -> Value:
        value = self._pop()
        self._stack.append(value)
        return value

    def _push(self, value: Value) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._marks) >= _MOST_NESTED_MARKS:
            raise CheckpointError(f"pickle: more than {_MOST_NESTED_MARKS} nested marks")
        self._marks.append(len(self._stack))
        self._stack.append(_MARK)

    def _pop_to_mark(self) -> list[Value]:
        if not self._marks:
            raise CheckpointError("pickle: a mark is missing")
        start = self._marks.pop()
        values = self._stack[start + 1 :]
        del self._stack[start:]
        return values

    def _name(self, module: Value, name: Value) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("pickle: a global name that is no text")
        value = Name(module, name)
        if not self._allowed(value):
            raise CheckpointError(
                f"the file refers to {value!s}, which is no part of a YOLOv8 checkpoint; nothing was executed"
            )
        self._push(value)

    def _call(self, name: Value, arguments: Value) -> None:
        if not isinstance(name, Name):
            raise CheckpointError(f"pickle: calls a {type(name).__name__}, expected a name; nothing was executed")
        if not isinstance(arguments, tuple):
            raise CheckpointError(f"pickle: calls {name!s} with a {type(arguments).__name__}, expected a tuple")
        # The one container that torch writes as a call: empty, its items follow as SETITEMS.
        if name == Name("collections", "OrderedDict"):
            if arguments:
                raise CheckpointError("pickle: an OrderedDict with arguments, expected its items afterwards")
            self._push({})
        else:
            self._push(Call(name, arguments))

    def _reduce(self) -> None:
        arguments = self._pop()
        self._call(self._pop(), arguments)

    def _reduce_with_keywords(self) -> None:
        keywords = self._pop()
        if keywords != {}:
            raise CheckpointError("pickle: an object made with keyword arguments")
        self._reduce()

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, dict):
            # A dict may carry attributes (torch writes version numbers so): they hold no weights.
            raise CheckpointError(f"pickle: gives state to a {type(target).__name__}; nothing was executed")

    def _append(self, values: list[Value]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Call):
            target.items.extend(values)
        else:
            raise CheckpointError(f"pickle: appends to a {type(target).__name__}")

    def _set_items(self, values: list[Value]) -> None:
        target = self._top()
        if len(values) % 2:
            raise CheckpointError("pickle: a key without a value")
        if isinstance(target, Call):
            target.items.extend(values)
            return
        if not isinstance(target, dict):
            raise CheckpointError(f"pickle: sets items of a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_checked_key(key)] = value

    def _append_one(self) -> None:
        value = self._pop()
        self._append([value])

    def _set_one(self) -> None:
        value = self._pop()
        key = self._pop()
        self._set_items([key, value])

    def _dictionary_from_mark(self) -> None:
        values = self._pop_to_mark()
        self._push({})
        self._set_items(values)

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise CheckpointError(f"pickle: memo {index} was never stored")
        self._push(self._memo[index])

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def _long(self, count: int) -> None:
        if count > 64:
            raise CheckpointError(f"pickle: a number of {count} bytes")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _frozen_set(self) -> None:
        self._push(self._pop_to_mark())

    def _protocol(self) -> None:
        version = self._number("<B")
        if not 2 <= version <= 5:
            raise CheckpointError(f"pickle: protocol {version}, expected 2 to 5")

    def _frame(self) -> None:
        if self._number("<Q") > len(self._data) - self._position:
            raise CheckpointError("pickle: a frame reaches past its end")

    def _stack_name(self) -> None:
        name = self._pop()
        self._name(self._pop(), name)

    def _line_name(self) -> None:
        module = self._line()
        self._name(module, self._line())

    def _pop_mark_or_value(self) -> None:
        if self._marks and len(self._stack) == self._marks[-1] + 1:
            self._pop_to_mark()
        else:
            self._pop()


def _checked_key(key: Value) -> Value:
    if key is None or isinstance(key, str | bool) or (isinstance(key, int) and abs(key) <= _LARGEST_INTEGER_KEY):
        return key
    raise CheckpointError(f"pickle: a dictionary key that is a {type(key).__name__}, or a number that is too large")


_Handler = Callable[[_Interpreter], None]
_HANDLERS: dict[int, _Handler] = {
    0x80: _Interpreter._protocol,
    0x95: _Interpreter._frame,
    0x28: _Interpreter._mark,
    0x30: _Interpreter._pop_mark_or_value,
    0x31: lambda it: it._pop_to_mark().clear(),  # POP_MARK
    0x32: lambda it: it._push(it._top()),  # DUP
    0x4E: lambda it: it._push(None),
    0x88: lambda it: it._push(True),
    0x89: lambda it: it._push(False),
    0x4A: lambda it: it._push(it._number("<i")),  # BININT
    0x4B: lambda it: it._push(it._number("<B")),  # BININT1
    0x4D: lambda it: it._push(it._number("<H")),  # BININT2
    0x8A: lambda it: it._long(it._number("<B")),  # LONG1
    0x47: lambda it: it._push(struct.unpack(">d", it._take(8))[0]),  # BINFLOAT
    0x58: lambda it: it._push(it._text(it._number("<I"))),  # BINUNICODE
    0x8C: lambda it: it._push(it._text(it._number("<B"))),  # SHORT_BINUNICODE
    0x8D: lambda it: it._push(it._text(it._number("<Q"))),  # BINUNICODE8
    0x54: lambda it: it._push(it._take(it._number("<i"))),  # BINSTRING
    0x55: lambda it: it._push(it._take(it._number("<B"))),  # SHORT_BINSTRING
    0x42: lambda it: it._push(it._take(it._number("<I"))),  # BINBYTES
    0x43: lambda it: it._push(it._take(it._number("<B"))),  # SHORT_BINBYTES
    0x5D: lambda it: it._push([]),  # EMPTY_LIST
    0x7D: lambda it: it._push({}),  # EMPTY_DICT
    0x29: lambda it: it._push(()),  # EMPTY_TUPLE
    0x8F: lambda it: it._push([]),  # EMPTY_SET: no set holds weights, so its items are only kept in order
    0x6C: lambda it: it._push(it._pop_to_mark()),  # LIST
    0x74: lambda it: it._push(tuple(it._pop_to_mark())),  # TUPLE
    0x85: lambda it: it._tuple(1),
    0x86: lambda it: it._tuple(2),
    0x87: lambda it: it._tuple(3),
    0x64: _Interpreter._dictionary_from_mark,
    0x91: _Interpreter._frozen_set,
    0x61: _Interpreter._append_one,
    0x65: lambda it: it._append(it._pop_to_mark()),  # APPENDS
    0x90: lambda it: it._append(it._pop_to_mark()),  # ADDITEMS
    0x73: _Interpreter._set_one,
    0x75: lambda it: it._set_items(it._pop_to_mark()),  # SETITEMS
    0x71: lambda it: it._put(it._number("<B")),  # BINPUT
    0x72: lambda it: it._put(it._number("<I")),  # LONG_BINPUT
    0x94: lambda it: it._put(len(it._memo)),  # MEMOIZE
    0x68: lambda it: it._get(it._number("<B")),  # BINGET
    0x6A: lambda it: it._get(it._number("<I")),  # LONG_BINGET
    0x63: _Interpreter._line_name,  # GLOBAL
    0x93: _Interpreter._stack_name,  # STACK_GLOBAL
    0x52: _Interpreter._reduce,  # REDUCE
    0x81: _Interpreter._reduce,  # NEWOBJ: to us the same, a name and its arguments
    0x92: _Interpreter._reduce_with_keywords,  # NEWOBJ_EX
    0x62: _Interpreter._build,
    0x51: lambda it: it._push(Persistent(it._pop())),  # BINPERSID
}
