"""Tables of rows: CSV, parquet, JSON lines; a file here, or one of a data set on the hub."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tao_runtime.data.hub import Hub, look_at_repo
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.snapshot import hub_cache
from tao_runtime.errors import InputError, RunError
from tao_runtime.spec.hub_asset import HubAsset

SUFFIXES: Final = (".csv", ".parquet", ".jsonl", ".json")
BATCH_ROWS: Final = 256

Row = Mapping[str, object]


def find_table(source: str, *, file: str = "", hub: Hub | None = None) -> Path:
    """Return a table: a path, or a file of a data set on the hub, which is fetched into its cache.

    Raises:
        InputError: there is no such file, or the data set has several tables and none is named.
        RunError: the hub does not give it.
    """
    path = Path(source)
    if path.is_file():
        return path
    repo, _, revision = source.partition("@")
    if path.exists() or repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise InputError(f"{source}: is not a file; want a table ({' '.join(SUFFIXES)}), or org/name of a data set")
    hub = hub or Hub()
    state = look_at_repo(hub, repo, "dataset", revision or None)
    if state.access != "open":
        page = hub.page(HubAsset("data", repo, "dataset"))
        raise RunError(
            f"{repo}: the hub does not give it ({state.access}{' ' + state.detail if state.detail else ''}). Fix: look "
            f"at {page}; accept its licence where there is one, export HF_TOKEN; or give a file"
        )
    tables = [one.name for one in state.files if one.name.endswith(SUFFIXES) and "/." not in f"/{one.name}"]
    chosen = [name for name in tables if name == file] if file else tables
    if len(chosen) != 1:
        raise InputError(f"{repo}: has {', '.join(tables[:8]) or 'no table'}; want one of them, named with --file")
    return _fetched(repo, chosen[0], state.commit, hub)


def _fetched(repo: str, name: str, commit: str | None, hub: Hub) -> Path:
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an extra: tables that are here do without it
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    except ImportError:
        raise RunError("the hub's library is not installed. Fix: pip install 'tao-run[data]', or give a file") from None
    try:
        place = hf_hub_download(
            repo, name, repo_type="dataset", revision=commit, endpoint=hub.address, cache_dir=hub_cache()
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{repo}: {name} cannot be fetched: {reason}") from error
    return Path(place)


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a table. Raises InputError if it cannot be read.

    Text of a CSV that is not UTF-8 is kept with marks in the place of what cannot be read: published tables have some.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".csv":
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                yield from csv.DictReader(file)
        except (OSError, csv.Error) as error:
            raise InputError(f"{path}: cannot be read ({error}); want a CSV with a line of names") from None
    elif path.suffix in SUFFIXES:
        for _, _, _, row in iter_array(path):
            yield row if isinstance(row, dict) else {}
    else:
        raise InputError(f"{path}: want a table: {' '.join(SUFFIXES)}")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; want a parquet file") from None
