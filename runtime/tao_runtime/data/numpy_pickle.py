"""Read numpy arrays out of a pickle without running it: its opcodes are followed by hand, and nothing is ever called.

A pickle is a program. This reader knows the few instructions that numpy writes for arrays in lists and tuples; a name
that is not one of numpy's own for that, or any other instruction, is refused before anything has happened.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_HOMES: Final = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
NAMES: Final = frozenset(
    [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
    + [(home, name) for home in _HOMES for name in ("_reconstruct", "_frombuffer")]
)
MAX_BYTES: Final = 64 << 20  # 512 tokens of 1,024 halves are 1 MiB
KINDS: Final = "fiub"  # numbers; an object array would hold a program of its own


class UnsafePickleError(ValueError):
    """The pickle holds something else than arrays of numbers."""


@dataclass(frozen=True, slots=True)
class _Name:
    module: str
    name: str


@dataclass(slots=True)
class _Dtype:
    code: str
    order: str = "="

    def make(self) -> np.dtype[Any]:
        try:
            made = np.dtype(self.code).newbyteorder(self.order if self.order in "<>=" else "=")  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UnsafePickleError(f"element type {self.code!r}") from None
        if made.kind not in KINDS:
            raise UnsafePickleError(f"elements of type {self.code!r}")
        return made


@dataclass(slots=True)
class _Array:
    value: npt.NDArray[Any] | None = None


_MARK: Final = object()
_CONSTANTS: Final[dict[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUSHED: Final = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
        *("UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8"),
    ]
)
_IGNORED: Final = frozenset(["PROTO", "FRAME", "STOP"])


def read_arrays(data: bytes) -> list[npt.NDArray[Any]]:
    """Return the arrays of a pickle: it holds one, or a list or tuple of them. Raises UnsafePickleError."""
    if len(data) > MAX_BYTES:
        raise UnsafePickleError(f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        top = _Machine().run(data)
    except UnsafePickleError:
        raise
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UnsafePickleError(f"not a pickle of arrays ({type(error).__name__})") from None
    return list(_arrays(top))


def _arrays(value: Any) -> Iterator[npt.NDArray[Any]]:
    if isinstance(value, _Array) and value.value is not None:
        yield value.value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    else:
        raise UnsafePickleError(f"a {type(value).__name__.strip('_').lower()} where an array should be")


class _Machine:
    """The stack and the memo of a pickle, with nothing but plain values on them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            self.step(opcode.name, argument)
        (top,) = self.stack
        return top

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _IGNORED:
            return
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.name(name, argument)
        elif name in ("REDUCE", "BUILD"):
            self.call(name)
        else:
            self.collect(name)

    def name(self, opcode: str, argument: Any) -> None:
        if opcode == "GLOBAL":
            module, _, name = argument.partition(" ")
        else:
            name, module = self.stack.pop(), self.stack.pop()
        if (module, name) not in NAMES:
            raise UnsafePickleError(f"it names {module}.{name}")
        self.stack.append(_Name(module, name))

    def collect(self, opcode: str) -> None:
        """Make tuples and lists."""
        sizes = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
        if opcode in sizes:
            at = len(self.stack) - sizes[opcode]
            self.stack[at:] = [tuple(self.stack[at:])]
        elif opcode == "EMPTY_LIST":
            self.stack.append([])
        elif opcode == "APPEND":
            item = self.stack.pop()
            self._list().append(item)
        elif opcode in ("TUPLE", "LIST", "APPENDS"):
            at = max(index for index, item in enumerate(self.stack) if item is _MARK)
            items = self.stack[at + 1 :]
            del self.stack[at:]
            if opcode == "APPENDS":
                self._list().extend(items)
            else:
                self.stack.append(tuple(items) if opcode == "TUPLE" else items)
        else:
            raise UnsafePickleError(f"instruction {opcode}")

    def _list(self) -> list[Any]:
        top = self.stack[-1]
        if type(top) is not list:
            raise UnsafePickleError("something is added to what is no list")
        return top

    def call(self, opcode: str) -> None:
        """Understand what numpy would have been asked to make."""
        argument, target = self.stack.pop(), self.stack.pop()
        if opcode == "BUILD" and isinstance(target, _Dtype):
            target.order = str(argument[1])
            self.stack.append(target)
        elif opcode == "BUILD" and isinstance(target, _Array):
            _, shape, dtype, fortran, raw = argument
            target.value = _array(raw, dtype, shape, "F" if fortran else "C")
            self.stack.append(target)
        elif opcode == "REDUCE" and isinstance(target, _Name) and type(argument) is tuple:
            self.stack.append(_reduced(target.name, argument))
        else:
            raise UnsafePickleError(f"instruction {opcode} on a {type(target).__name__.strip('_').lower()}")


def _reduced(name: str, argument: tuple[Any, ...]) -> Any:
    if name == "_reconstruct" and argument[0] == _Name("numpy", "ndarray"):
        return _Array()
    if name == "dtype" and type(argument[0]) is str:
        return _Dtype(argument[0])
    if name == "encode" and argument[1:] == ("latin1",) and type(argument[0]) is str:
        return argument[0].encode("latin1")  # how protocol 2 writes bytes
    if name == "_frombuffer":
        raw, dtype, shape, order = argument
        return _Array(_array(raw, dtype, shape, order))
    raise UnsafePickleError(f"a call of {name} that numpy does not write")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise UnsafePickleError("an array whose data are not bytes")
    return np.frombuffer(bytes(raw), dtype=dtype.make()).reshape(tuple(int(side) for side in shape), order=order)
