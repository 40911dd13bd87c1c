"""Inference: a model answers prompts for a file or every file of a folder, or the questions of an annotation file."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from tao_runtime.data.families import PromptOptions, dry_family
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import build_whole
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.item_run import ItemRun
from tao_runtime.engine.requests import answer_requests
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.engine.samples import SampleMaker
from tao_runtime.plan.ledger import SampleRules
from tao_runtime.plan.model import EvaluatePlan, InferencePlan
from tao_runtime.score.results import RESULTS_NAME, Result, write_results
from tao_runtime.spec.base import ModelRef


def infer(plan: InferencePlan, run_dir: Path, world: World) -> None:
    """Answer this rank's share; the main rank writes results.json, without ground truth. Collective."""
    run = ItemRun(plan, run_dir, world)
    responder = load_responder(plan, world, run.log)
    asked = list(answer_requests(plan))

    def answer(positions: list[int]) -> list[dict[str, object]]:
        records = [(position, *asked[position]) for position in positions]
        samples = [responder.maker.make(record, index, root, generate=True) for index, record, root in records]
        answers = responder.answer(samples, plan.generation)
        return [
            answer_row(plan, record, text, name=_name(plan, record))
            for (_, record, _), text in zip(records, answers, strict=True)
        ]

    rows = run.make("infer", len(asked), answer, size=plan.generation.batch_size)
    if world.is_main:
        write_results((result_of(row) for row in rows), run_dir / RESULTS_NAME)
        run.complete(len(rows), outputs={"results": RESULTS_NAME})
    world.barrier()


def _name(plan: InferencePlan, record: dict[str, object]) -> str:
    media = dry_family(plan.family).media_names(record)
    return media[0][1] if media else ""


def load_responder(plan: EvaluatePlan | InferencePlan, world: World, log: RunLog) -> Responder:
    """Return the model that answers, loaded whole, and say in the log that it is."""
    base = plan.model.base_path or plan.model.path
    geometry = probe_model(ModelRef("model", base, "model")).geometry
    tokenizer = Tokenizer.from_file(str(Path(base) / "tokenizer.json"))
    prompt = PromptOptions(plan.prompt_format, plan.system_prompt)
    rules = SampleRules(plan.family, plan.sampling, geometry, prompt, plan.model.max_length)
    model, report = build_whole(chat_family(plan.family), plan.model, world.device)
    log.gate("base-weights", ok=True, expected=report.expected, matched=report.matched, unused=len(report.unused))
    return Responder(model, SampleMaker(rules, tokenizer, FrameCache(0)), tokenizer, world.device)


def answer_row(
    plan: EvaluatePlan | InferencePlan, record: dict[str, object], answer: str | None, *, name: str
) -> dict[str, object]:
    """Return an answer as it is kept. `name` is that of a record without an id."""
    dry = dry_family(plan.family)
    turns, media = dry.read_turns(record, "conversations"), dry.media_names(record)
    return {
        "video_id": str(record.get("id", name)),
        "response": answer,
        "question": dry.question_of(turns),
        "gt": dry.answer_of(turns),
        "video": media[0][1] if media else None,
        "error_type": None if answer is not None else "MISSING",
    }


def result_of(row: dict[str, object]) -> Result:
    """Return the result of a kept answer."""
    return Result.model_validate({**row, "id": row["video_id"]})
