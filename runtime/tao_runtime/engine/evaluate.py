"""Evaluation: a model answers every record of a data set once; the answers are judged and the figures written."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tokenizers import Tokenizer

from tao_runtime.data.families import PromptOptions, dry_family
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import build_whole
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.run_dir import LEDGER, RunLog, RunRecord, now
from tao_runtime.engine.samples import SampleSource
from tao_runtime.errors import RunError
from tao_runtime.plan.ledger import Ledger, SampleRules
from tao_runtime.plan.model import EvaluatePlan
from tao_runtime.score.answer import detect_kind
from tao_runtime.score.metrics import MetricsReport, judge_row, kind_of_task, score, write_metrics
from tao_runtime.score.picture import draw_confusion
from tao_runtime.score.results import RESULTS_NAME, Result, write_results
from tao_runtime.spec.base import ModelRef

PARTS = "parts"


def evaluate(plan: EvaluatePlan, run_dir: Path, world: World) -> None:
    """Answer this rank's share of the records; the main rank then judges all of them. Collective."""
    log, started, clock = RunLog(run_dir, is_main=world.is_main), now(), time.monotonic()
    base = plan.model.base_path or plan.model.path
    geometry = probe_model(ModelRef("model", base, "model")).geometry
    tokenizer = Tokenizer.from_file(str(Path(base) / "tokenizer.json"))
    prompt = PromptOptions(plan.prompt_format, plan.system_prompt)
    rules = SampleRules(plan.family, plan.sampling, geometry, prompt, plan.model.max_length)
    source = SampleSource(Ledger.load(run_dir / LEDGER.format(label="eval")), rules, tokenizer, FrameCache(0))
    model, report = build_whole(chat_family(plan.family), plan.model, world.device)
    log.gate("base-weights", ok=True, expected=report.expected, matched=report.matched, unused=len(report.unused))
    responder = Responder(model, source, tokenizer, world.device)
    count = min(len(source.ledger), plan.limit) if plan.limit is not None else len(source.ledger)
    _prepare_parts(run_dir, plan, world)
    _answer(plan, source, responder, run_dir=run_dir, world=world, count=count)
    world.barrier()
    if world.is_main:
        metrics = _judge(plan, run_dir, count, log)
        outputs = {"results": RESULTS_NAME} | ({"metrics": "metrics.json"} if plan.save_summary else {})
        log.complete(
            RunRecord(
                action=plan.action,
                family=plan.family,
                spec_sha256=plan.spec_sha256,
                started_at=started,
                finished_at=now(),
                seconds=round(time.monotonic() - clock, 2),
                records=count,
                gates=tuple(log.gates),
                metrics={name: value.value for name, value in metrics.metrics.items() if value.value is not None},
                outputs=outputs,
                parents={"annotation": plan.data.sha256 or "", "model": plan.model.path},
            )
        )
    world.barrier()


def _prepare_parts(run_dir: Path, plan: EvaluatePlan, world: World) -> None:
    """Forget the answers of an earlier run, unless they are to be kept."""
    parts = run_dir / PARTS
    if world.is_main:
        parts.mkdir(exist_ok=True)
        mark, identity = parts / "identity.txt", answers_identity(plan)
        if plan.skip_saved and mark.is_file() and mark.read_text() != identity:
            raise RunError(
                f"{parts}: the saved answers are of another model, data set, prompt or sampling. Fix: set "
                "evaluation.skip_saved=false, or choose another results_dir"
            )
        if not plan.skip_saved:
            for part in parts.glob("*.jsonl"):
                part.unlink()
        mark.write_text(identity)
    world.barrier()


def answers_identity(plan: EvaluatePlan) -> str:
    """Return a hash of what decides an answer: weights by name, size and time, data, prompt, sampling, generation."""
    folders = [Path(path) for path in (plan.model.path, plan.model.base_path) if path]
    files = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    weights = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    decided = plan.model_dump(include={"model", "data", "sampling", "system_prompt", "prompt_format", "generation"})
    return hashlib.sha256(json.dumps([weights, decided], sort_keys=True, default=str).encode()).hexdigest()


def _answer(
    plan: EvaluatePlan, source: SampleSource, responder: Responder, *, run_dir: Path, world: World, count: int
) -> None:
    """Generate this rank's answers, batch by batch, each appended as soon as it is there."""
    dry = dry_family(plan.family)
    saved = {row["position"] for row in _read_parts(run_dir)} if plan.skip_saved else set()
    world.barrier()
    mine = [position for position in range(world.rank, count, world.size) if position not in saved]
    size = plan.generation.batch_size
    with (
        StepProgress("evaluate", count, done=count - len(mine) * world.size, enabled=world.is_main) as progress,
        (run_dir / PARTS / f"rank-{world.rank}.jsonl").open("a") as part,
    ):
        for start in range(0, len(mine), size):
            positions = mine[start : start + size]
            answers = responder.answer(
                [source.load(position, generate=True) for position in positions], plan.generation
            )
            for position, answer in zip(positions, answers, strict=True):
                record = source.ledger.read(position)
                turns = dry.read_turns(record, "conversations")
                media = dry.media_names(record)
                row = {
                    "position": position,
                    "video_id": str(record.get("id", source.ledger.record[position])),
                    "response": answer,
                    "question": dry.question_of(turns),
                    "gt": dry.answer_of(turns),
                    "video": media[0][1] if media else None,
                    "error_type": None if answer is not None else "MISSING",
                }
                part.write("\n" + json.dumps(row) + "\n")
            part.flush()
            progress.advance(by=len(positions) * world.size)


def _read_parts(run_dir: Path) -> Iterator[dict[str, object]]:
    for part in sorted((run_dir / PARTS).glob("*.jsonl")):
        for line in part.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # a process that was killed leaves half a line: answered again
                yield json.loads(line)


def _judge(plan: EvaluatePlan, run_dir: Path, count: int, log: RunLog) -> MetricsReport:
    """Bring the parts together, judge every answer, write results.json, metrics.json and the picture.

    Raises:
        RunError: a record has no result, or two.
    """
    wanted = (row for row in _read_parts(run_dir) if int(str(row["position"])) < count)
    raw = sorted(wanted, key=lambda row: int(str(row["position"])))
    positions = [row.pop("position") for row in raw]
    complete = positions == list(range(count))
    log.gate("one-result-each", ok=complete, records=count, results=len(raw))
    if not complete:
        raise RunError(f"{count} records gave {len(raw)} results, {len(set(positions))} of them distinct")
    rows = [Result.model_validate({**row, "id": row["video_id"]}) for row in raw]
    kind = kind_of_task(plan.task) or detect_kind(row.gt for row in rows)
    judged = [judge_row(row, kind=kind) for row in rows]
    write_results(judged, run_dir / RESULTS_NAME)
    metrics = score(
        judged,
        kind=kind,
        text_metrics=plan.text_metrics if kind == "text" else (),
        soft_threshold=plan.soft_accuracy_threshold,
        options=plan.metric_options,
    ).model_copy(update={"spec_sha256": plan.spec_sha256})
    if plan.save_summary:
        write_metrics(metrics, run_dir / "metrics.json")
    if plan.save_confusion_matrix and metrics.confusion:
        draw_confusion(metrics, run_dir / "confusion.png")
    if plan.save_individual:
        (run_dir / "individual").mkdir(exist_ok=True)
        for number, row in enumerate(judged):
            (run_dir / "individual" / f"{number:06d}.json").write_text(row.model_dump_json(indent=1))
    return metrics
