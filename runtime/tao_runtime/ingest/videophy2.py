"""From a table of rated videos to the VideoPhy-2 layout: clips fetched within a time limit, a conversation each.

Columns by upstream's own preparation: video_url, and the ratings pc (physical commonsense) and sa (semantic adherence)
from 1 to 5, joint (0 or 1), caption and upsampled_caption. The question is ours; another is given with --prompt.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote as percent
from urllib.parse import urlsplit

from pydantic import Field

from tao_runtime.data.media import probe_header
from tao_runtime.data.paths import refuse_file
from tao_runtime.data.videophy2 import MEDIA, META, TEXT
from tao_runtime.data.web import FetchError, get
from tao_runtime.errors import ExitCode, Finding, Fix, Frozen, InputError
from tao_runtime.ingest.tables import Row, read_rows
from tao_runtime.ingest.write import partial_path, write_atomically

URL: Final = "video_url"
CAPTIONS: Final = ("upsampled_caption", "caption")  # the first that a row has
FAILURES: Final = "failures.jsonl"
MEDIA_KEY: Final = "video_0"  # how a turn names its clip
ATTEMPTS, PAUSE_S = 3, 0.5
MAX_BYTES: Final = 1 << 30  # of a clip
GIVE_UP: Final = 50  # failures on end, with nothing between
_SAFE: Final = "%/:=&?~#+!$,;'@()*[]"  # what stays as it is in an address; published ones have spaces

PROMPTS: Final[Mapping[str, str]] = {
    "pc": (
        "Rate how well this video keeps to the physics of everyday life: whether things keep their shape and "
        "substance, move as forces and weight would move them, touch and push each other believably, and stay the "
        "same from frame to frame. 1: many clear violations. 2: mostly wrong. 3: right in the main, with visible "
        "faults. 4: small faults only. 5: nothing wrong. Answer with one number from 1 to 5."
    ),
    "sa": (
        "Rate how well this video shows what the caption says: its things, its actions and how they go on. 1: not at "
        "all. 3: in part. 5: completely. Answer with one number from 1 to 5."
    ),
    "joint": "Does this video show what the caption says, and keep to the physics of everyday life? Answer yes or no.",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is made, and with which patience."""

    table: Path
    out: Path
    score: str = "pc"
    prompt: str = ""  # empty: ours for the score
    caption: bool = False  # put the row's caption after the question
    limit: int | None = None
    timeout_s: float = 60.0  # for a whole clip
    workers: int = 8
    max_failures: float = 0.05  # share of rows

    @property
    def question(self) -> str:
        return self.prompt or PROMPTS[self.score]


class VideoPhy2Report(Frozen):
    """What was made."""

    schema_version: Literal["tao-run/videophy2/1"] = Field(default="tao-run/videophy2/1", alias="schema")
    ok: bool
    folder: str
    table: str
    rows: int
    clips: int = Field(description="in meta.json")
    fetched: int
    kept: int = Field(description="were there, from the same address")
    failures: dict[str, int] = Field(description="by reason; each row is in failures.jsonl")
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS


@dataclass(frozen=True, slots=True)
class _Result:
    row: int
    address: str
    reason: str | None = None  # why there is no clip
    kept: bool = False


def prepare_videophy2(request: Request, progress: Progress | None = None) -> VideoPhy2Report:
    """Make the folder, or finish one that was left half-way. Raises InputError for a table that is none."""
    if request.score not in PROMPTS and not request.prompt:
        raise InputError(f"--score {request.score}: want {', '.join(PROMPTS)}, or --prompt with a question for it")
    refuse_file(request.out)
    rows = _rows(request)
    for name in (MEDIA, TEXT):
        (request.out / name).mkdir(parents=True, exist_ok=True)
    results = sorted(_run(request, rows, progress), key=lambda result: result.row)
    good = [result for result in results if result.reason is None]
    bad = [result for result in results if result.reason is not None]
    lines = [json.dumps({"row": one.row, "video_url": one.address, "reason": one.reason}) for one in bad]
    write_atomically(request.out / FAILURES, "".join(f"{line}\n" for line in lines).encode())
    entries = [_entry(result.row) for result in good]
    write_atomically(request.out / META, json.dumps(entries, indent=1).encode())
    reasons = Counter(str(result.reason) for result in bad)
    findings = tuple(_findings(request, rows, results, reasons))
    return VideoPhy2Report(
        ok=all(finding.severity != "error" for finding in findings),
        folder=str(request.out),
        table=str(request.table),
        rows=len(rows),
        clips=len(good),
        fetched=sum(not result.kept for result in good),
        kept=sum(result.kept for result in good),
        failures=dict(reasons.most_common()),
        findings=findings,
    )


def _rows(request: Request) -> list[Row]:
    rows: list[Row] = []
    for row in read_rows(request.table):
        if request.limit is not None and len(rows) >= request.limit:
            break
        rows.append(row)
    if not rows:
        raise InputError(f"{request.table}: no rows; want a table with {URL} and {request.score}")
    lost = [name for name in (URL, request.score) if name not in rows[0]]
    if lost:
        has = ", ".join(map(str, rows[0])) or "none"
        raise InputError(f"{request.table}: no column {', '.join(lost)}; want {URL} and {request.score}. It has {has}")
    return rows


def _entry(row: int) -> dict[str, str]:
    """Return a row's entry of meta.json: names as upstream gives them, by the row's number from 1."""
    number = f"{row + 1:04d}"
    return {
        "id": f"conversation_{number}",
        "media": f"{MEDIA}/video_{number}.mp4",
        "conversation": f"{TEXT}/conversation_{number}.json",
    }


def _run(request: Request, rows: list[Row], progress: Progress | None) -> Iterator[_Result]:
    """Yield what became of each row, as it is known; stops asking where nothing comes any more."""
    stop, on_end = threading.Event(), 0
    pool = ThreadPoolExecutor(request.workers)
    try:
        futures: list[Future[_Result]] = [
            pool.submit(_one, request, number, row, stop) for number, row in enumerate(rows)
        ]
        for done, future in enumerate(as_completed(futures), 1):
            result = future.result()
            on_end = 0 if result.reason is None else on_end + 1
            if on_end >= GIVE_UP:
                stop.set()
            if progress is not None:
                progress(done, len(rows))
            yield result
    finally:
        stop.set()  # an interruption does not wait for the rest
        pool.shutdown(cancel_futures=True)


def _one(request: Request, number: int, row: Row, stop: threading.Event) -> _Result:
    address = str(row.get(URL) or "").strip()
    if not address:
        return _Result(number, address, f"no {URL}")
    answer = _answer(row.get(request.score), request.score)
    if answer is None:
        return _Result(number, address, f"no {request.score}, or none of its values")
    caption = next((str(row[name]) for name in CAPTIONS if row.get(name)), "")
    entry = _entry(number)
    media, text = request.out / entry["media"], request.out / entry["conversation"]
    kept = _is_there(media, text, address)
    if not kept:
        if stop.is_set():
            return _Result(number, address, "not tried any more")
        reason = _bring(request, address, media, stop)
        if reason is not None:
            return _Result(number, address, reason)
    wanted = _conversation(request, answer, caption)
    source = {URL: address, "bytes": media.stat().st_size}
    write_atomically(text, json.dumps({"conversations": wanted, "source": source}).encode())
    return _Result(number, address, kept=kept)


def _answer(value: object, score: str) -> str | None:
    """Return what the model is to say: a whole number from 1 to 5, or yes or no."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    if score == "joint":
        return {0.0: "no", 1.0: "yes"}.get(number)
    return str(int(number)) if number in (1, 2, 3, 4, 5) else None


def _conversation(request: Request, answer: str, caption: str) -> list[dict[str, object]]:
    """Return the turns as upstream writes them: role, and content in parts."""
    with_caption = request.caption or (not request.prompt and request.score in {"sa", "joint"})
    question = request.question + (f"\nCaption: {caption}" if with_caption and caption else "")
    parts = [{"type": "video", "video": MEDIA_KEY}, {"type": "text", "text": question}]
    return [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def _is_there(media: Path, text: Path, address: str) -> bool:
    """Whether a clip came from this address before, and is whole."""
    try:
        source = json.loads(text.read_bytes())["source"]
        return bool(source[URL] == address and source["bytes"] == media.stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _bring(request: Request, address: str, media: Path, stop: threading.Event) -> str | None:
    """Put a clip in its place; returns why it could not be. A clip that does not open as a video is none."""
    temporary = partial_path(media).with_suffix(".part.mp4")
    try:
        if urlsplit(address).scheme in {"http", "https"}:
            _download(request, address, temporary, stop)
        else:
            _copy(request.table.parent, address, temporary)
        header = probe_header(temporary, "video")
        if isinstance(header, Finding):
            return f"not a video: {header.saw}" if "bytes" not in header.saw else f"not a video: {header.rule}"
        temporary.replace(media)
    except FetchError as error:
        return error.reason
    except OSError as error:
        return error.strerror or type(error).__name__
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _copy(root: Path, name: str, target: Path) -> None:
    """Copy a clip that lies beside the table. Raises FetchError for one that does not."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise FetchError("a path outside the table's folder")
    if not path.is_file():
        raise FetchError("no such file beside the table")
    shutil.copyfile(path, target)


def _download(request: Request, address: str, target: Path, stop: threading.Event) -> None:
    """Fetch a clip; what may be a passing fault of the server is tried again. Raises FetchError."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with get(percent(address, safe=_SAFE), timeout_s=request.timeout_s) as answer, target.open("wb") as file:
                size = 0
                for piece in answer.chunks:
                    size += len(piece)
                    if size > MAX_BYTES:
                        raise FetchError(f"more than {MAX_BYTES >> 20} MiB")
                    file.write(piece)
            return
        except FetchError as error:
            passing = error.reason == "broke off" or error.status in {429, 500, 502, 503, 504}
            if not passing or attempt == ATTEMPTS or stop.is_set():
                raise
        time.sleep(PAUSE_S * attempt)


def _findings(request: Request, rows: list[Row], results: list[_Result], reasons: Counter[str]) -> Iterator[Finding]:
    failed = sum(reasons.values())
    if not failed:
        return
    share = failed / len(rows)
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(4))
    yield Finding(
        rule="prepare/rows-failed",
        severity="error" if share > request.max_failures or failed == len(rows) else "warning",
        where=str(request.out / FAILURES),
        saw=f"{failed:,} of {len(rows):,} rows without a clip: {told}",
        want=f"at most {request.max_failures:.0%} (--max-failures)",
        fix=Fix(text="the same command tries them again, and leaves what came alone"),
    )
