"""Write a repaired copy of an annotation file, record by record in constant memory; the source is only read.

Beside the copy: the records that cannot be used, each with its reasons, and a diff of the records that were changed.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from tao_runtime.data.json_stream import LINES_SUFFIXES, iter_array
from tao_runtime.data.record_repair import Repaired

DIFF_BYTES: Final = 256 << 10  # of the diff of one file; the rest is counted
QUOTED: Final = 2000  # characters of a record's reasons


@dataclass(slots=True)
class Rewritten:
    """What came of an annotation file."""

    target: Path
    quarantine: Path
    diff: Path
    records: int = 0  # read
    kept: int = 0  # written
    changed: int = 0
    applied: Counter[str] = field(default_factory=Counter)  # records by rule whose patch was applied
    reasons: Counter[str] = field(default_factory=Counter)  # records that were set apart, by their first reason's rule


class Repair(Protocol):
    """What looks at every record, in order."""

    def repair(self, index: int, record: object) -> Repaired: ...


def rewrite(source: Path, target: Path, repair: Repair) -> Rewritten:
    """Write `target`, `<stem>.quarantine.jsonl` and `<stem>.diff`. Raises InputError if the source cannot be read."""
    beside = target.with_suffix("")
    done = Rewritten(target, beside.with_suffix(".quarantine.jsonl"), beside.with_suffix(".diff"))
    with ExitStack() as stack:
        raw = stack.enter_context(source.open("rb"))
        records = stack.enter_context(whole(target))
        apart, diff = stack.enter_context(whole(done.quarantine)), stack.enter_context(whole(done.diff))
        put = _Writer(records, lines=target.suffix.lower() in LINES_SUFFIXES)
        for index, offset, size, record in iter_array(source):
            found = repair.repair(index, record)
            done.records += 1
            if found.reasons:
                done.reasons[found.reasons[0].partition(":")[0]] += 1
                apart.write(set_apart(index, found.reasons, record))
                continue
            done.kept += 1
            done.applied.update(found.applied)
            if found.applied:
                done.changed += 1
                put.record(_json(found.record, indent=None))
                _add_diff(diff, f"{source.name} record {index}", record, found.record)
            else:  # as it stands, byte for byte
                raw.seek(offset)
                put.record(raw.read(size))
        put.end()
    return done


def set_apart(index: int, reasons: Sequence[str], record: object) -> bytes:
    """Return the line of a record that cannot be used, with its reasons."""
    quoted = [reason[:QUOTED] for reason in reasons[:20]]
    return _json({"record": index, "reasons": quoted, "content": record}, indent=None) + b"\n"


def _json(value: object, *, indent: int | None) -> bytes:
    """Write a value; lone surrogates, which UTF-8 has no bytes for, stay escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent).encode()


class _Writer:
    """Writes an array with a record a line, or JSON lines."""

    def __init__(self, file: IO[bytes], *, lines: bool) -> None:
        self.file, self.lines, self.empty = file, lines, True

    def record(self, data: bytes) -> None:
        if self.lines:
            self.file.write(data + b"\n")
        else:
            self.file.write((b"[\n" if self.empty else b",\n") + data)
        self.empty = False

    def end(self) -> None:
        if not self.lines:
            self.file.write(b"[]\n" if self.empty else b"\n]\n")


def _add_diff(file: IO[bytes], name: str, old: object, new: object) -> None:
    if file.tell() > DIFF_BYTES:
        return
    before, after = (_json(value, indent=1).decode("utf-8", "replace").splitlines() for value in (old, new))
    lines = "\n".join(difflib.unified_diff(before, after, name, name, lineterm="", n=1))
    file.write((lines + "\n").encode("utf-8", "replace")[:DIFF_BYTES])
    if file.tell() > DIFF_BYTES:
        file.write(b"\n... more records were changed; the summary counts them\n")


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
