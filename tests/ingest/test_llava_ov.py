"""Rows are streamed into files that training reads: as many as wanted, the same whatever happens in between."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("datasets")

from fake_hub import COMMIT, FakeHub, Repo, serve
from tao_runtime.cli.app import app
from tao_runtime.data.probe import probe_dataset
from tao_runtime.errors import InputError
from tao_runtime.ingest import llava_ov
from tao_runtime.ingest.llava_ov import SCHEMA, Request, StreamState, stream_rows
from tao_runtime.spec.base import DatasetRef

TURNS = [{"from": "human", "value": "<image>\nWhich colour?"}, {"from": "gpt", "value": "red"}]


def picture(number: int) -> dict[str, object]:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (number, 0, 0)).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": f"{number}.png"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of ten rows, of which rows 0, 10 and 20 have no picture, and row 1 has no answer."""
    root = tmp_path_factory.mktemp("source")
    for part in range(3):
        rows = [{"id": f"r{part}{n}", "image": picture(10 * part + n) if n else None,
                 "conversations": TURNS[:1] if (part, n) == (0, 1) else TURNS} for n in range(10)]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), root / f"train-{part}.parquet", row_group_size=3)
    return root


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ids(folder: Path) -> list[str]:
    return [name for path in sorted(folder.glob("*.parquet")) for name in pq.read_table(path)["id"].to_pylist()]


def run(source: Path, out: Path, rows: int, **options: object) -> StreamState:
    return stream_rows(Request(str(source), out, rows, part_rows=4, **options))  # type: ignore[arg-type]


def test_rows_are_what_training_reads(source: Path, tmp_path: Path) -> None:
    state = run(source, tmp_path / "out", 10)
    assert (state.rows, state.parts, state.ended) == (10, 3, False)
    assert state.left_out == {"no picture": 2, "fewer than two turns": 1}
    facts = probe_dataset(DatasetRef("train", str(tmp_path / "out"), "", "d", "d", format="llava-parquet"))
    assert facts.findings == () and facts.num_usable == 10 and len(facts.media) == 10
    assert ids(tmp_path / "out")[:2] == ["r02", "r03"]


def test_a_stream_that_is_stopped_gives_the_same_rows(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, tmp_path / "whole", 20)
    written, real = [0], llava_ov._write_part

    def breaks(path: Path, rows: list[dict[str, object]]) -> None:
        written[0] += 1
        if written[0] == 3:
            raise KeyboardInterrupt
        real(path, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(llava_ov, "_write_part", breaks)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "halves", 20)
    assert len(ids(tmp_path / "halves")) == 8
    state = run(source, tmp_path / "halves", 20)
    assert ids(tmp_path / "halves") == ids(tmp_path / "whole") and state.rows == 20
    assert state.left_out == run(source, tmp_path / "whole", 20).left_out


def test_more_rows_may_be_asked_for_later_until_there_are_no_more(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", 6)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    assert run(source, tmp_path / "out", 6).rows == 6
    state = run(source, tmp_path / "out", 100)
    assert (state.rows, state.ended) == (26, True) and len(set(ids(tmp_path / "out"))) == 26
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert run(source, tmp_path / "out", 200) == state


def test_rows_of_text_are_kept_where_asked_for(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "out", 100, text_rows=True).rows == 29


def test_another_stream_does_not_mix(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", 4)
    with pytest.raises(InputError, match="text_rows is False; want True"):
        run(source, tmp_path / "out", 8, text_rows=True)
    with pytest.raises(InputError, match="parquet files of no stream"):
        run(tmp_path, source, 8)


def test_what_does_not_exist_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="want --subset and --split that it has"):
        run(source, tmp_path / "a", 4, split="nothing")
    with pytest.raises(InputError, match="is not a folder"):
        run(tmp_path / "nowhere", tmp_path / "b", 4)
    other = tmp_path / "other"
    other.mkdir()
    pq.write_table(pa.table({"text": ["a"]}), other / "a.parquet")
    with pytest.raises(InputError, match="no column id, image, conversations"):
        run(other, tmp_path / "c", 4)


def test_the_command_says_how_many(source: Path, tmp_path: Path) -> None:
    words = ["prepare", "llava_ov", str(source), "--out", str(tmp_path / "out"), "--rows", "5"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["rows"] == 5
    assert "5 rows in 1 files" in CliRunner().invoke(app, words).stdout


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_at_its_commit(source: Path, tmp_path: Path) -> None:
    """In a process of its own: the library reads HF_ENDPOINT when it is imported."""
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    with serve(FakeHub({"org/ov": Repo(files, kind="dataset")})) as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
        words = [sys.executable, "-c", "from tao_runtime.cli import main; main()", "prepare", "llava_ov", "org/ov"]
        for rows in ("3", "6"):
            options = ["--rows", rows, "--part-rows", "3", "--out", str(tmp_path / "out"), "--json"]
            done = subprocess.run([*words, *options], env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["revision"] == COMMIT
        assert ids(tmp_path / "out") == ["r02", "r03", "r04", "r05", "r06", "r07"]
        assert not any("train-2" in line for line in hub.asked), "files that no row was wanted of stay where they are"
