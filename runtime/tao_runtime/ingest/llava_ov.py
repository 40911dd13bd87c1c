"""Conversations about pictures, streamed through `datasets` into parquet files here: as many rows as are wanted.

A run plans its steps from every row before it starts, and reads its rows again by their place: so rows are brought
here first, and only those that are trained on, instead of being streamed into training. The place in the stream is the
library's own, written down after each file: the same command goes on there, with the same rows as without a stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, JsonValue, ValidationError

from tao_runtime.data.hub import COMMIT, Hub, look_at_repo
from tao_runtime.data.parquet_rules import COLUMNS
from tao_runtime.data.paths import make_folder
from tao_runtime.errors import Frozen, InputError, RunError
from tao_runtime.ingest.write import partial_path, write_atomically

STATE: Final = "stream.json"
GROUP_ROWS: Final = 16  # a row is read by its row group
SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
    ]
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is streamed, and where to."""

    source: str  # org/name[@commit] of the hub, or a folder of parquet files
    out: Path
    rows: int
    subset: str = ""
    split: str = "train"
    text_rows: bool = False  # also rows without a picture; upstream leaves them out
    part_rows: int = 1000


class StreamState(Frozen):
    """How far a stream was read, and what of it was kept."""

    schema_version: Literal["tao-run/stream/1"] = Field(default="tao-run/stream/1", alias="schema")
    source: str
    revision: str | None = Field(description="commit; null: files of this machine")
    subset: str
    split: str
    text_rows: bool
    parts: int = 0
    rows: int = Field(default=0, description="kept")
    left_out: dict[str, int] = Field(default_factory=dict, description="rows by reason")
    ended: bool = Field(default=False, description="the stream has no more rows")
    cursor: dict[str, JsonValue] | None = Field(default=None, description="the library's own; null: at the start")


def stream_rows(request: Request, progress: Progress | None = None) -> StreamState:
    """Bring rows until there are as many as wanted, or no more; goes on where it was stopped.

    Raises:
        InputError: the source, subset or split does not exist, or `out` holds another stream.
        RunError: `datasets` is not installed, or the stream breaks off. What was written stays.
    """
    state = _begin(request)
    if state.ended or state.rows >= request.rows:
        return state
    make_folder(request.out)
    stream = _open(request, state.revision)
    if state.cursor is not None:
        stream.load_state_dict(state.cursor)
    rows, counts = _kept(stream, request), Counter(state.left_out)
    while state.rows < request.rows and not state.ended:
        want = min(request.part_rows, request.rows - state.rows)
        part: list[Mapping[str, object]] = []
        for reason, row in rows:
            if reason is not None:
                counts[reason] += 1
                continue
            part.append(row)
            if len(part) == want:
                break
        if part:
            _write_part(request.out / f"part-{state.parts:05d}.parquet", part)
        state = state.model_copy(
            update={
                "parts": state.parts + bool(part),
                "rows": state.rows + len(part),
                "left_out": dict(counts),
                "ended": len(part) < want,
                "cursor": stream.state_dict(),
            }
        )
        write_atomically(request.out / STATE, state.model_dump_json(by_alias=True, indent=1).encode())
        if progress is not None:
            progress(state.rows, request.rows)
    return state


def _begin(request: Request) -> StreamState:
    """Return how far it is; refuses a folder that holds another stream."""
    source, _, revision = request.source.partition("@")
    here = Path(source).is_dir()
    wanted: dict[str, Any] = {
        "source": str(Path(source).resolve()) if here else source,
        "subset": request.subset,
        "split": request.split,
        "text_rows": request.text_rows,
    }
    path = request.out / STATE
    if path.is_file():
        try:
            known = StreamState.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(f"{path}: {error.errors()[0]['msg']}; want a state as it was written") from None
        for name, value in {**wanted, **({"revision": revision} if revision else {})}.items():
            if getattr(known, name) != value:
                raise InputError(
                    f"{path}: {name} is {getattr(known, name)!r}; want {value!r}. Fix: name another folder with --out"
                )
        return known
    if any(request.out.glob("*.parquet")):
        raise InputError(f"{request.out}: holds parquet files of no stream; want an empty folder")
    return StreamState(revision=None if here else _commit(source, revision), **wanted)


def _commit(repo: str, revision: str) -> str:
    """Return the commit of a data set, so that a stream that is stopped goes on in the same rows."""
    if COMMIT.fullmatch(revision):
        return revision
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise InputError(f"{repo}: is not a folder; want one with parquet files, or org/name of a data set")
    hub = Hub()
    state = look_at_repo(hub, repo, "dataset", revision or None)
    if state.commit is None or state.access != "open":
        told, page = " ".join((state.access, state.detail)).strip(), f"{hub.address}/datasets/{repo}"
        raise RunError(
            f"{repo}: {hub.address} does not give it ({told}). Fix: look at {page}; export HF_TOKEN where it is gated"
        )
    return state.commit


def _open(request: Request, revision: str | None) -> Any:
    """Open the stream, its pictures as the bytes they are. Raises InputError if it does not exist."""
    try:
        import datasets  # noqa: PLC0415 - an extra, and a second to import
    except ImportError:
        raise RunError("the library of data sets is not installed. Fix: pip install 'tao-run[data]'") from None
    source = request.source.partition("@")[0]
    try:
        stream = datasets.load_dataset(
            source, name=request.subset or None, split=request.split, revision=revision, streaming=True
        )
        names = stream.column_names or list(next(iter(stream)))
    except (ValueError, OSError, StopIteration, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise InputError(f"{request.source}: {reason}; want --subset and --split that it has") from None
    lost = [name for name in COLUMNS if name not in names]
    if lost:
        raise InputError(f"{request.source}: no column {', '.join(lost)}; want {', '.join(COLUMNS)}. It has {names}")
    if isinstance((stream.features or {}).get("image"), datasets.Image):
        stream = stream.cast_column("image", datasets.Image(decode=False))
    return stream.select_columns(list(COLUMNS))


def _kept(stream: Any, request: Request) -> Iterator[tuple[str | None, Mapping[str, object]]]:
    """Yield (why it is left out or None, row). Raises RunError where the stream breaks off."""
    try:
        for row in stream:
            image, turns = row["image"], row["conversations"]
            data = image.get("bytes") if isinstance(image, dict) else image
            if not isinstance(turns, list) or len(turns) < 2:
                yield "fewer than two turns", row
            elif data is None and not request.text_rows:
                yield "no picture", row
            elif data is not None and not isinstance(data, bytes):
                yield "a picture that is not bytes", row
            else:
                name = image.get("path") if isinstance(image, dict) else None
                picture = None if data is None else {"bytes": data, "path": name}
                yield None, {"id": str(row["id"]), "image": picture, "conversations": turns}
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{request.source}: {reason}. What was written stays: the same command goes on") from error


def _write_part(path: Path, rows: list[Mapping[str, object]]) -> None:
    """Write a file of rows, whole or not at all."""
    temporary = partial_path(path)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary, row_group_size=GROUP_ROWS)
    temporary.replace(path)
