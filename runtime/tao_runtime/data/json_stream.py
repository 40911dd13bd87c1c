"""Stream the elements of a JSON array, or of JSON lines, in constant memory, each with its exact place in the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NoReturn

from tao_runtime.errors import InputError

CHUNK_BYTES: Final = 1 << 20
MAX_ELEMENT_CHARS: Final = 64 << 20  # larger than this is no record; keeps a broken file from filling the memory
TAIL: Final = 32  # a number this close to the end of the window may go on in the next chunk
LINES_SUFFIXES: Final = (".jsonl", ".ndjson")

_comma = re.compile(r"[ \t\r\n]*,[ \t\r\n]*").match
_space_end = re.compile(r"[ \t\r\n]*").match


def iter_array(
    path: Path | str, *, on_bytes: Callable[[bytes], object] | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[int, int, int, object]]:
    """Yield (index, byte_offset, byte_size, value) of every element, objects or not, in file order.

    Accepts a top-level array, or one value per line. `on_bytes` sees every chunk of the file once, in order (a hash).
    NaN and Infinity are refused. Raises InputError with file:line:column for whatever cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            window = _Window(path, file, on_bytes, chunk_bytes)
            window.open()
            yield from window.array() if window.char() == "[" else window.lines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); want a JSON array or JSON lines") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _Window:
    """A sliding window of decoded text; `pos` is the next character, `byte` its offset in the file."""

    def __init__(self, path: Path, file: IO[bytes], on_bytes: Callable[[bytes], object] | None, chunk: int) -> None:
        self.path, self.file, self.on_bytes, self.chunk = path, file, on_bytes, chunk
        self.decode_text = codecs.getincrementaldecoder("utf-8")("strict").decode
        decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self.decode_json, self.scan_once = decoder.raw_decode, decoder.scan_once  # type: ignore[attr-defined]
        self.text = ""
        self.pos = self.byte = 0
        self.ascii = True
        self.eof = False

    def open(self) -> None:
        """Read the first chunk and move to the first character that is not white space."""
        self.more()
        if self.text.startswith("\ufeff"):  # a byte order mark means nothing in UTF-8
            self.move(1)
        self.skip()
        if not self.char():
            raise InputError(f"{self.path}:1:1: the file is empty; want a JSON array or JSON lines")

    def array(self) -> Iterator[tuple[int, int, int, object]]:
        self.move(self.pos + 1)
        self.skip()
        index = 0
        while index or self.char() != "]":  # after a comma an element must follow
            for offset, size, value in self.run():
                yield index, offset, size, value
                index += 1
            offset, size, value = self.value()
            yield index, offset, size, value
            comma = _comma(self.text, self.pos)
            if comma and comma.end() < len(self.text):  # the next element starts in the window: the usual case
                self.move(comma.end())
                index += 1
                continue
            self.skip()
            char = self.char()
            if char == "]":
                break
            if char != ",":
                saw = f"{char!r} after element {index}" if char else f"the file ends after element {index}: truncated"
                self.fail(saw, "',' or ']'")
            self.move(self.pos + 1)
            self.skip()
            index += 1
        self.move(self.pos + 1)
        self.skip()
        if self.char():
            self.fail(f"{self.char()!r} after the end of the array", "nothing more")

    def run(self) -> Iterator[tuple[int, int, object]]:
        """Yield the objects from `pos` on that lie well inside an ASCII window, each with the comma behind it.

        The usual case, without a call for each step. Stops in front of whatever needs a closer look.
        """
        text, pos, shift, scan = self.text, self.pos, self.byte - self.pos, self.scan_once
        last = len(text) - TAIL if self.ascii else 0
        try:
            while text[pos : pos + 1] == "{":
                value, end = scan(text, pos)
                following = end + 2 if text[end : end + 2] == ", " else end + 1
                if end > last or text[end] != "," or text[following] != "{":
                    break
                self.pos, self.byte = following, following + shift  # before the yield: a reader may stop here
                yield pos + shift, end - pos, value
                pos = following
        except (ValueError, RecursionError, StopIteration, IndexError):
            return  # `value` says what is wrong, or reads on

    def lines(self) -> Iterator[tuple[int, int, int, object]]:
        offset, size, value = self.value()
        newline = self.skip()
        if self.path.suffix.lower() not in LINES_SUFFIXES and (not self.char() or not isinstance(value, dict)):
            want = "a JSON array of records, or one record per line"
            raise InputError(f"{self.path}:1:1: the top level is {_name(value)}; want {want}")
        index = 0
        while True:
            yield index, offset, size, value
            if not self.char():
                return
            if not newline:
                self.fail(f"{self.char()!r} after record {index} on the same line", "one record per line")
            offset, size, value = self.value()
            newline = self.skip()
            index += 1

    def value(self) -> tuple[int, int, object]:
        """Decode the value at `pos` and move behind it; return (byte offset, bytes, value)."""
        offset = self.byte
        while True:
            try:
                value, end = self.decode_json(self.text, self.pos)
            except json.JSONDecodeError as error:
                # A mistake well inside the window is real; at its end, or in an open string, more text may cure it.
                if self.eof or not (error.msg.startswith("Unterminated") or error.pos > len(self.text) - TAIL):
                    self.move(error.pos)
                    self.fail(self._explain(error), "valid JSON", began=offset)
            except (
                ValueError,
                RecursionError,
            ) as error:  # NaN, Infinity, a number of thousands of digits, deep nesting
                saw = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
                self.fail(f"the value that starts here is refused: {saw}", "finite numbers and plain nesting")
            else:
                if self.eof or end <= len(self.text) - TAIL or not isinstance(value, int | float):
                    self.move(end)
                    return offset, self.byte - offset, value
            if len(self.text) - self.pos > MAX_ELEMENT_CHARS:
                self.fail(f"one value of more than {MAX_ELEMENT_CHARS >> 20} MiB", "an array of records")
            self.more()

    def _explain(self, error: json.JSONDecodeError) -> str:
        if error.msg.startswith("Unterminated"):
            return "a string that is never closed: the file is truncated, or a quote is missing"
        if error.pos >= len(self.text):
            return "the file ends inside a value: truncated"
        return f"{error.msg[0].lower()}{error.msg[1:]}, at {self.text[error.pos : error.pos + 12]!r}"

    def char(self) -> str:
        """The next character; '' at the end of the file."""
        return self.text[self.pos : self.pos + 1]

    def skip(self) -> bool:
        """Move over white space, reading on as needed; return whether a newline was among it."""
        if self.text[self.pos : self.pos + 1] > " ":  # nothing to skip: the usual case
            return False
        newline = False
        while True:
            match = _space_end(self.text, self.pos)
            end = match.end() if match else self.pos
            newline = newline or "\n" in self.text[self.pos : end]
            self.move(end)
            if end < len(self.text) or self.eof:
                return newline
            self.more()

    def move(self, to: int) -> None:
        if self.ascii:
            self.byte += to - self.pos
        else:
            self.byte += len(self.text[self.pos : to].encode())
        self.pos = to

    def more(self) -> None:
        """Drop what was consumed and read on; a long value doubles the window, so that retries stay linear."""
        self.text = self.text[self.pos :]
        self.pos = 0
        data = self.file.read(max(self.chunk, len(self.text)))
        self.eof = not data
        if self.on_bytes is not None and data:
            self.on_bytes(data)
        if data.startswith((b"\xff\xfe", b"\xfe\xff")) and self.byte == 0 and not self.text:
            name = "UTF-32" if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")) else "UTF-16"
            raise InputError(f"{self.path}:1:1: the file is {name}; want UTF-8")
        try:
            self.text += self.decode_text(data, self.eof)
        except UnicodeDecodeError as error:
            place = "at the end of the file" if self.eof else f"near byte {self.file.tell() - len(data) + error.start}"
            raise InputError(f"{self.path}: {place}: bytes that are not UTF-8; want UTF-8 text") from error
        self.ascii = self.text.isascii()

    def fail(self, saw: str, want: str, *, began: int | None = None) -> NoReturn:
        """Raise; `began` is where the value starts, in whose line the mistake often is."""
        line, column = _line_column(self.path, self.byte)
        first = line if began is None else _line_column(self.path, began)[0]
        saw += f", in the value that starts in line {first}" if first != line else ""
        raise InputError(f"{self.path}:{line}:{column}: {saw}; want {want}")


def _line_column(path: Path, byte: int) -> tuple[int, int]:
    """1-based line and column (in characters) of a byte offset; reads the file again, so only for a message."""
    line, last, left = 1, b"", byte
    with path.open("rb") as file:
        while left > 0 and (data := file.read(min(CHUNK_BYTES, left))):
            left -= len(data)
            line += data.count(b"\n")
            last = data.rpartition(b"\n")[2] if b"\n" in data else last + data
    return line, len(last.decode("utf-8", "ignore").removeprefix("\ufeff")) + 1


def _name(value: object) -> str:
    names = {dict: "an object", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
