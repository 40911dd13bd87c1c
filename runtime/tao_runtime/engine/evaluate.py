"""Evaluation: a model answers every record of a data set once; the answers are judged and the figures written."""

from __future__ import annotations

from pathlib import Path

from tao_runtime.engine.dist import World
from tao_runtime.engine.infer import answer_row, load_responder, result_of
from tao_runtime.engine.item_run import ItemRun
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.samples import SampleSource
from tao_runtime.plan.ledger import Ledger
from tao_runtime.plan.model import EvaluatePlan
from tao_runtime.score.answer import detect_kind
from tao_runtime.score.metrics import MetricsReport, judge_row, kind_of_task, score, write_metrics
from tao_runtime.score.picture import draw_confusion
from tao_runtime.score.results import RESULTS_NAME, Result, write_results


def evaluate(plan: EvaluatePlan, run_dir: Path, world: World) -> None:
    """Answer this rank's share of the records; the main rank then judges all of them. Collective."""
    run = ItemRun(plan, run_dir, world)
    responder = load_responder(plan, world, run.log)
    maker = responder.maker
    source = SampleSource(Ledger.load(run_dir / LEDGER.format(label="eval")), maker.rules, maker.tokenizer, maker.cache)
    count = min(len(source.ledger), plan.limit) if plan.limit is not None else len(source.ledger)

    def answer(positions: list[int]) -> list[dict[str, object]]:
        samples = [source.load(position, generate=True) for position in positions]
        answers = responder.answer(samples, plan.generation)
        return [
            answer_row(plan, dict(source.ledger.read(position)), text, name=str(source.ledger.record[position]))
            for position, text in zip(positions, answers, strict=True)
        ]

    rows = run.make("evaluate", count, answer, size=plan.generation.batch_size)
    if world.is_main:
        metrics = _judge(plan, run_dir, [result_of(row) for row in rows])
        outputs = {"results": RESULTS_NAME} | ({"metrics": "metrics.json"} if plan.save_summary else {})
        values = {name: value.value for name, value in metrics.metrics.items() if value.value is not None}
        run.complete(count, outputs=outputs, metrics=values, parents={"annotation": plan.data.sha256 or ""})
    world.barrier()


def _judge(plan: EvaluatePlan, run_dir: Path, rows: list[Result]) -> MetricsReport:
    """Judge every answer, write results.json, metrics.json and the picture."""
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
