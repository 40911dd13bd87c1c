"""A pickle as inert data: its opcodes are walked, and nothing that it names is imported or called.

Torch's distributed checkpoint keeps its table of contents in a pickle (`.metadata`). A class becomes its dotted name, a
call becomes a Record of name, arguments and state.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_OPCODES: Final = 20_000_000  # about 10 for each chunk of a tensor


class PickleShapeError(ValueError):
    """The opcodes do not build a value out of the plain kinds that are known here."""


@dataclass(slots=True, eq=False)
class Record:
    """What a pickle would have made by calling `name`."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None

    def get(self, key: str) -> Any:
        state = self.state[1] if isinstance(self.state, tuple) and len(self.state) == 2 else self.state
        return state.get(key) if isinstance(state, dict) else None


@dataclass(slots=True)
class _Machine:
    """The stack of a pickle while it is walked."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise PickleShapeError("the stack is empty")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise PickleShapeError("no mark")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PickleShapeError(f"no {kind.__name__} on the stack")
        return self.stack[-1]


_Step = Callable[[_Machine, Any], None]


def read_pickle(data: bytes) -> Any:
    """Return the value that a pickle would build, with every object as a Record.

    Raises:
        PickleShapeError: it is no pickle, or uses what a table of contents has no need of.
    """
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number > MAX_OPCODES:
                raise PickleShapeError("too many opcodes")
            if opcode.name == "STOP":
                return machine.pop()
            step = _STEPS.get(opcode.name)
            if step is None:
                raise PickleShapeError(f"opcode {opcode.name}")
            step(machine, argument)
    except PickleShapeError:
        raise
    except (ValueError, IndexError, TypeError, OverflowError, UnicodeError, RecursionError) as error:
        raise PickleShapeError(str(error)[:200]) from error
    raise PickleShapeError("it does not end")


def _push(make: Callable[[Any], Any]) -> _Step:
    return lambda machine, argument: machine.stack.append(make(argument))


def _tuple(count: int) -> _Step:
    def step(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return step


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: _Machine, _: Any) -> None:
    machine.pop()


def _marked_tuple(machine: _Machine, _: Any) -> None:
    machine.stack.append(tuple(machine.pop_mark()))


def _append(machine: _Machine, _: Any) -> None:
    item = machine.pop()
    machine.top(list).append(item)


def _appends(machine: _Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.top(list).extend(items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.top(dict)[_hashable(key)] = value


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.pop_mark()
    target = machine.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_hashable(key)] = value


def _hashable(key: Any) -> Any:
    # Flat tuples only: the hash of tuples of tuples of one another would take for ever.
    flat = all(isinstance(item, str | int | None) for item in key) if isinstance(key, tuple) else True
    if not flat or not isinstance(key, str | int | bytes | float | tuple | Record | None):
        raise PickleShapeError("a key that cannot be one")
    return key


def _global(machine: _Machine, argument: Any) -> None:
    machine.stack.append(Record(str(argument).replace(" ", ".")))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleShapeError("a class whose name is no text")
    machine.stack.append(Record(f"{module}.{name}"))


def _call(machine: _Machine, _: Any) -> None:
    args, made = machine.pop(), machine.pop()
    if not isinstance(made, Record) or not isinstance(args, tuple):
        raise PickleShapeError("a call of something that is no class")
    machine.stack.append(Record(made.name, args))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    machine.top(Record).state = state


def _memoize(machine: _Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top(object)


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[argument] = machine.top(object)


def _get(machine: _Machine, argument: Any) -> None:
    if argument not in machine.memo:
        raise PickleShapeError("a memo that was never made")
    machine.stack.append(machine.memo[argument])


def _nothing(machine: _Machine, _: Any) -> None:
    return


_STEPS: Final[Mapping[str, _Step]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINBYTES", "SHORT_BINBYTES",
                     "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
                    _push(lambda argument: argument)),
    "NONE": _push(lambda _: None), "NEWTRUE": _push(lambda _: True), "NEWFALSE": _push(lambda _: False),
    "EMPTY_DICT": _push(lambda _: {}), "EMPTY_LIST": _push(lambda _: []), "EMPTY_TUPLE": _push(lambda _: ()),
    "MARK": _mark, "POP": _pop, "TUPLE": _marked_tuple, "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _set_item, "SETITEMS": _set_items,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _call, "NEWOBJ": _call, "BUILD": _build,
    "MEMOIZE": _memoize, "BINPUT": _put, "LONG_BINPUT": _put, "PUT": _put,
    "BINGET": _get, "LONG_BINGET": _get, "GET": _get,
}  # fmt: skip
