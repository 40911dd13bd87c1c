"""A table of rated videos becomes a folder that the family reads; what cannot be had is counted, and tried again."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from factory import make_clip
from fake_hub import FakeHub, Repo, serve
from tao_runtime.cli.app import app
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.records import read_record
from tao_runtime.errors import InputError
from tao_runtime.ingest import videophy2
from tao_runtime.ingest.tables import find_table, read_rows
from tao_runtime.ingest.videophy2 import Request, prepare_videophy2
from tao_runtime.spec.base import DatasetRef

# The columns of upstream's tables that its own preparation reads, and some that it leaves alone.
COLUMNS = ("video_url", "caption", "upsampled_caption", "sa", "pc", "joint", "action", "is_hard")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=4).read_bytes()


@pytest.fixture
def web(clip: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(videophy2, "PAUSE_S", 0.01)
    plain = {f"v/{number}.mp4": clip for number in range(3)} | {"v/a b.mp4": clip, "v/page.mp4": b"<html>"}
    with serve(FakeHub(plain=plain)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def row(url: str, **fields: object) -> dict[str, object]:
    return {**dict.fromkeys(COLUMNS, ""), "video_url": url, "pc": 4, "sa": 3, "joint": 0, "caption": "a cat", **fields}


def table(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{**one, "pc": int(str(one["pc"]))} for one in rows]), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(one) for one in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return path


def request(tmp_path: Path, *rows: dict[str, object], **options: object) -> Request:
    return Request(table(tmp_path / "t.csv", *rows), tmp_path / "out", **options)  # type: ignore[arg-type]


def gets(web: FakeHub) -> int:
    return len([line for line in web.asked if line.startswith("GET")])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_the_folder_is_read_by_the_family(web: FakeHub, tmp_path: Path, suffix: str) -> None:
    rows = [row(f"{web.address}/v/{number}.mp4", pc=number + 1) for number in range(3)]
    made = Request(table(tmp_path / f"t{suffix}", *rows), tmp_path / "out")
    report = prepare_videophy2(made)
    assert report.ok and (report.clips, report.fetched, report.kept, report.failures) == (3, 3, 0, {})
    facts = probe_dataset(DatasetRef("train", str(made.out), "", "d", "d", format="videophy2"))
    assert facts.findings == () and facts.num_usable == 3
    record = read_record("videophy2", facts.annotation, int(facts.columns.offset[1]), int(facts.columns.size[1]))
    turns = record["conversations"]
    assert turns[0]["value"].startswith("<video>\n") and turns[1]["value"] == "2"  # type: ignore[index]
    assert record["id"] == "conversation_0002" and record["video"] == "media/video_0002.mp4"


def test_failures_are_counted_by_reason_and_left_out(web: FakeHub, tmp_path: Path) -> None:
    base = f"{web.address}/v"
    made = request(tmp_path, row(f"{base}/0.mp4"), row(f"{base}/gone.mp4"), row(f"{base}/page.mp4"), row(""),
                   row(f"{base}/1.mp4", pc=""), row(f"{base}/1.mp4", pc=9), row("ftp://x/y.mp4"))  # fmt: skip
    report = prepare_videophy2(made)
    assert not report.ok and report.clips == 1 and report.rows == 7
    assert report.failures.pop("no pc, or none of its values") == 2
    assert set(report.failures) >= {"HTTP 404", "no video_url", "no such file beside the table"}
    assert any(reason.startswith("not a video") for reason in report.failures)
    lines = [json.loads(line) for line in (made.out / "failures.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in (made.out / "media").iterdir()] == ["video_0001.mp4"]
    assert "6 of 7 rows" in report.findings[0].saw


def test_what_came_is_left_alone_and_the_rest_is_tried_again(web: FakeHub, tmp_path: Path, clip: bytes) -> None:
    made = request(tmp_path, *(row(f"{web.address}/v/{name}.mp4") for name in (0, 1, "late")), max_failures=0.5)
    assert prepare_videophy2(made).ok
    web.plain["v/late.mp4"] = clip
    web.asked.clear()
    report = prepare_videophy2(made)
    assert (report.clips, report.fetched, report.kept) == (3, 1, 2) and gets(web) == 1
    (made.out / "media" / "video_0001.mp4").write_bytes(b"cut")
    assert prepare_videophy2(made).fetched == 1
    web.asked.clear()
    report = prepare_videophy2(replace(made, prompt="Another question?"))
    assert (report.kept, gets(web)) == (3, 0) and "Another" in (
        made.out / "text" / "conversation_0001.json"
    ).read_text()


def test_another_address_in_a_row_is_another_clip(web: FakeHub, tmp_path: Path) -> None:
    made = request(tmp_path, row(f"{web.address}/v/0.mp4"))
    prepare_videophy2(made)
    table(made.table, row(f"{web.address}/v/1.mp4"))
    assert prepare_videophy2(made).fetched == 1


def test_a_server_that_hangs_or_drips_is_given_up_in_time(web: FakeHub, tmp_path: Path, clip: bytes) -> None:
    web.plain["v/drip.mp4"], web.plain["v/hang.mp4"] = clip, clip
    web.drip.add("v/drip.mp4")
    web.hang.add("v/hang.mp4")
    start = time.monotonic()
    report = prepare_videophy2(
        request(tmp_path, *(row(f"{web.address}/v/{n}.mp4") for n in ("drip", "hang", "0")), timeout_s=0.5)
    )
    assert report.failures == {"no end after 0.5 s": 1, "no answer within 0.5 s": 1} and report.clips == 1
    assert time.monotonic() - start < 4


def test_addresses_with_spaces_are_encoded(web: FakeHub, tmp_path: Path) -> None:
    assert prepare_videophy2(request(tmp_path, row(f"{web.address}/v/a b.mp4"))).clips == 1


def test_clips_beside_the_table_are_copied_and_none_from_elsewhere(web: FakeHub, tmp_path: Path, clip: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(clip)
    (tmp_path / "b.mp4").write_bytes(clip)
    made = Request(table(tmp_path / "in" / "t.csv", row("a.mp4"), row("../b.mp4")), tmp_path / "out")
    report = prepare_videophy2(made)
    assert report.clips == 1 and report.failures == {"a path outside the table's folder": 1}


def test_nothing_is_asked_any_more_where_nothing_comes(
    web: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videophy2, "GIVE_UP", 3)
    report = prepare_videophy2(request(tmp_path, *(row(f"{web.address}/no/{n}.mp4") for n in range(40)), workers=1))
    assert report.failures["not tried any more"] > 20 and not report.ok and gets(web) < 20


@pytest.mark.parametrize(("score", "value", "answer"), [("sa", 3, "3"), ("joint", 1, "yes"), ("joint", 0, "no")])
def test_other_scores_have_their_question_and_the_caption(
    web: FakeHub, tmp_path: Path, score: str, value: int, answer: str
) -> None:
    made = request(tmp_path, row(f"{web.address}/v/0.mp4", **{score: value}), score=score)
    prepare_videophy2(made)
    turns = json.loads((made.out / "text" / "conversation_0001.json").read_text())["conversations"]
    assert "Caption: a cat" in turns[0]["content"][1]["text"] and turns[1]["content"][0]["text"] == answer


def test_a_table_without_the_columns_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"url": 1, "pc": 2}')
    with pytest.raises(InputError, match="no column video_url; want video_url and pc"):
        prepare_videophy2(Request(path, tmp_path / "out"))


def test_text_that_is_not_utf8_does_not_end_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"video_url,pc,caption\nx,4,caf\xe9\n")
    assert [one["pc"] for one in read_rows(tmp_path / "t.csv")] == ["4"]


def test_a_table_on_the_hub_is_fetched(web: FakeHub, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    text = table(tmp_path / "t.csv", row(f"{web.address}/v/0.mp4")).read_bytes()
    web.repos["org/set"] = Repo({"train.csv": text, "README.md": b"x"}, kind="dataset")
    done = CliRunner().invoke(app, ["prepare", "videophy2", "org/set", "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["clips"] == 1
    web.repos["org/set"].files = {"a.csv": text, "b.csv": text}
    with pytest.raises(InputError, match=r"has a\.csv, b\.csv; want one of them"):
        find_table("org/set")
    with pytest.raises(InputError, match="is not a file"):
        find_table(str(tmp_path / "no.csv"))
