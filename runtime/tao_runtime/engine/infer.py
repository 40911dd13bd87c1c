"""Inference: a model answers a prompt for a file or every file of a folder, or the questions of an annotation file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from tao_runtime.data.families import PromptOptions, dry_family
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import build_whole
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.engine.samples import SampleMaker
from tao_runtime.errors import InputError
from tao_runtime.plan.ledger import SampleRules
from tao_runtime.plan.model import InferencePlan
from tao_runtime.score.results import RESULTS_NAME, Result, write_results
from tao_runtime.spec.base import ModelRef

SUFFIXES = {
    "video": (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v"),
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp"),
}


def infer(plan: InferencePlan, run_dir: Path, world: World) -> None:
    """Answer this rank's share; the main rank writes results.json, without ground truth. Collective."""
    log, started, clock = RunLog(run_dir, is_main=world.is_main), now(), time.monotonic()
    base = plan.model.base_path or plan.model.path
    geometry = probe_model(ModelRef("model", base, "model_path")).geometry
    tokenizer = Tokenizer.from_file(str(Path(base) / "tokenizer.json"))
    prompt = PromptOptions(plan.prompt_format, plan.system_prompt)
    rules = SampleRules(plan.family, plan.sampling, geometry, prompt, plan.model.max_length)
    maker = SampleMaker(rules, tokenizer, FrameCache(0))
    model, report = build_whole(chat_family(plan.family), plan.model, world.device)
    log.gate("base-weights", ok=True, expected=report.expected, matched=report.matched, unused=len(report.unused))
    responder = Responder(model, maker, tokenizer, world.device)
    asked = list(requests(plan))
    mine, size = list(enumerate(asked))[world.rank :: world.size], plan.generation.batch_size
    answered: dict[int, Result] = {}
    with StepProgress("infer", len(mine), enabled=world.is_main) as progress:
        for start in range(0, len(mine), size):
            chunk = mine[start : start + size]
            samples = [maker.make(record, index, root, generate=True) for index, (record, root) in chunk]
            answers = responder.answer(samples, plan.generation)
            for (index, (record, _)), answer in zip(chunk, answers, strict=True):
                answered[index] = _row(plan, record, answer)
            progress.advance(by=len(chunk))
    part = run_dir / f".answers-{world.rank}.json"
    part.write_text(json.dumps({index: row.model_dump(mode="json") for index, row in answered.items()}))
    world.barrier()
    if not world.is_main:
        return
    parts = [run_dir / f".answers-{rank}.json" for rank in range(world.size)]
    everything = {index: row for part in parts for index, row in json.loads(part.read_text()).items()}
    rows = [Result.model_validate(everything[str(index)]) for index in range(len(asked))]
    write_results(rows, run_dir / RESULTS_NAME)
    for part in parts:
        part.unlink()
    log.complete(
        RunRecord(
            action=plan.action,
            family=plan.family,
            spec_sha256=plan.spec_sha256,
            started_at=started,
            finished_at=now(),
            seconds=round(time.monotonic() - clock, 2),
            records=len(rows),
            gates=tuple(log.gates),
            outputs={"results": RESULTS_NAME},
            parents={"model": plan.model.path},
        )
    )


def requests(plan: InferencePlan) -> Iterator[tuple[dict[str, object], Path]]:
    """Yield (record, media root) of everything that is asked.

    Raises:
        InputError: there is nothing to ask about.
    """
    media = Path(plan.media)
    if media.suffix in (".json", ".jsonl"):
        for _, _, _, value in iter_array(media):
            if isinstance(value, dict):
                yield value, media.parent
        return
    if media.is_dir():
        files = sorted(path for path in media.iterdir() if path.suffix.lower() in SUFFIXES[plan.media_kind])
    else:
        files = [media]
    if not files:
        raise InputError(f"media: {media} holds no {plan.media_kind}; want {', '.join(SUFFIXES[plan.media_kind])}")
    for path in files:
        turns = [{"from": "human", "value": f"<{plan.media_kind}>\n{plan.prompt}"}]
        yield {"id": path.name, plan.media_kind: path.name, "conversations": turns}, path.parent


def _row(plan: InferencePlan, record: dict[str, object], answer: str | None) -> Result:
    dry = dry_family(plan.family)
    turns = dry.read_turns(record, "conversations")
    media = dry.media_names(record)
    name = str(record.get("id", media[0][1] if media else ""))
    return Result(
        video_id=name,
        id=name,
        video=media[0][1] if media else None,
        question=dry.question_of(turns),
        gt=dry.answer_of(turns),
        response=answer,
        error_type=None if answer is not None else "MISSING",
    )
