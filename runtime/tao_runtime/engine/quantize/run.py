"""A quantisation from its plan to `quantized.json`: merge, calibrate, quantise, audit, reload, compare, judge."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue
from tokenizers import Tokenizer
from torch import nn

from tao_runtime.audit.report import AuditReport
from tao_runtime.data.families import PromptOptions
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import DTYPES, build_whole
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.quantize.calibration import write_inputs
from tao_runtime.engine.quantize.drive import drive
from tao_runtime.engine.quantize.environment import PYTHON
from tao_runtime.engine.quantize.folder import assemble, audit_against, sizes, write_merged
from tao_runtime.engine.quantize.prove import PROBED, answer_all, judged, reaction, with_media
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.run_dir import LEDGER, RunLog, RunRecord, now
from tao_runtime.engine.samples import SampleSource
from tao_runtime.errors import RunError
from tao_runtime.plan.ledger import Ledger, SampleRules
from tao_runtime.plan.model import QuantizePlan
from tao_runtime.score.answer import detect_kind
from tao_runtime.score.metrics import MetricsReport, compare, score, write_metrics
from tao_runtime.score.quantized import (
    Accuracy,
    QuantizeReport,
    Reaction,
    TestAnswer,
    count_pairs,
    judge_accuracy,
    judge_reaction,
)
from tao_runtime.score.results import RESULTS_NAME, Result, write_results
from tao_runtime.spec.base import ModelRef

QUANTIZED: Final = "quantized.json"
WORK: Final = ".quantize"
MODEL: Final = Path("export/model")
BASE_RESULTS: Final = "base_results.json"
# Findings of an audit that are no errors in general, and are here: it was this run that had to leave the tower alone.
NOT_HERE: Final = ("audit/quant-vision",)


class Quantizer:
    """One quantisation. Every step leaves a gate in the log; a gate that fails ends the run, unless it is a verdict."""

    def __init__(self, plan: QuantizePlan, run_dir: Path, world: World) -> None:
        self.plan, self.run_dir, self.world = plan, run_dir, world
        self.log = RunLog(run_dir, is_main=True)
        self.family = chat_family(plan.family)
        self.base = Path(plan.model.base_path or plan.model.path)
        self.tokenizer = Tokenizer.from_file(str(self.base / "tokenizer.json"))
        self.work = run_dir / WORK
        self.work.mkdir(exist_ok=True)

    def run(self) -> None:
        """Quantise, and prove what came of it.

        Raises:
            RunError: nothing was made, or what was made is not whole or does not load.
        """
        started, clock = now(), time.monotonic()
        model, load = build_whole(self.family, self.plan.model, self.world.device)
        self.log.gate("base-weights", ok=True, expected=load.expected, matched=load.matched, unused=len(load.unused))
        source = self._merged(model)
        made, calibration = self._quantise(model, source)
        folder = self.run_dir / MODEL.parent / f".{MODEL.name}.tmp"
        assemble(self.work / "made", source, folder)
        self._audit(audit_against(folder, source))
        small = self._reload(folder)
        report = QuantizeReport(
            spec_sha256=self.plan.spec_sha256,
            source=self.plan.model.path,
            scheme=self.plan.scheme.model_dump(mode="json"),
            modules=made["modules"],
            calibration=calibration,
            versions=made["versions"],
            sizes=sizes(source, folder),
            **self._prove(model, small),
        )
        self._finish(report, folder, started=started, seconds=time.monotonic() - clock)

    def _merged(self, model: nn.Module) -> Path:
        """Return the folder that is quantised: the model's own, or the one its adapter was merged into."""
        if self.plan.model.base_path is None:
            return self.base
        folder, dtype = self.work / "merged", DTYPES[self.plan.model.dtype]
        write_merged(model, self.base, folder, layout=self.family.EXPORT, dtype=dtype)
        self.log.status("merged", adapter=self.plan.model.path, base=str(self.base))
        return folder

    def _source(self, label: str) -> SampleSource | None:
        """Open the records of a ledger; None where there is none."""
        path, proof = self.run_dir / LEDGER.format(label=label), self.plan.proof
        if (self.plan.calibration if label == "calibration" else self.plan.data) is None:
            return None
        geometry = probe_model(ModelRef("model", str(self.base), "model")).geometry
        prompt = PromptOptions(proof.prompt_format, proof.system_prompt)
        longest = self.plan.scheme.max_length if label == "calibration" else self.plan.model.max_length
        rules = SampleRules(self.plan.family, proof.sampling, geometry, prompt, longest)
        return SampleSource(Ledger.load(path), rules, self.tokenizer, FrameCache(0))

    def _quantise(self, model: nn.Module, source: Path) -> tuple[dict[str, Any], dict[str, int]]:
        """Have the driver quantise; returns what it says, and what scales were measured on."""
        scheme, records, inputs = self.plan.scheme, self._source("calibration"), self.work / "calibration"
        written = write_inputs(self.family, model, records, inputs) if records is not None else {}
        if written:
            problem = [] if written["with_media"] else ["no calibration sample has a medium, and the model is to see"]
            self.log.gate("calibration", ok=not problem, **written)
            if problem:
                raise RunError(f"gate calibration: {problem[0]}. Fix: name records with videos or images")
        shutil.rmtree(self.work / "made", ignore_errors=True)
        request = {
            "model": str(source.absolute()),
            "out": str((self.work / "made").absolute()),
            "scheme": scheme.name,
            "method": scheme.method,
            "group_size": scheme.group_size,
            "kv_fp8": scheme.kv_fp8,
            "smoothing": scheme.smoothing,
            "ignore": ["re:.*lm_head", "re:.*visual.*"],
            "calibration": str(inputs.absolute()),
        }
        made = drive(Path(os.environ[PYTHON]), request, self.work)
        self.log.gate("quantised", ok=True, modules=made["modules"], versions=made["versions"])
        return made, written

    def _audit(self, report: AuditReport) -> None:
        wrong = [found for found in report.findings if found.severity == "error" or found.rule in NOT_HERE]
        problems: list[JsonValue] = [found.render() for found in wrong[:5]]
        self.log.gate("audit", ok=not wrong, findings=len(report.findings), problems=problems)
        if wrong:
            raise RunError("gate audit: " + "\n".join(found.render() for found in wrong[:5]))

    def _reload(self, folder: Path) -> nn.Module:
        """Load the folder as a user will."""
        try:
            small, load = self.family.load_quantised(folder, self.world.device, DTYPES[self.plan.model.dtype])
        except (RunError, RuntimeError, ValueError, OSError, ImportError) as error:
            self.log.gate("reload", ok=False, problems=[str(error)[:300]])
            raise RunError(f"gate reload: {folder} does not load: {error}") from error
        self.log.gate("reload", ok=True, tensors=load.matched)
        return small

    def _prove(self, model: nn.Module, small: nn.Module) -> dict[str, Any]:
        """Return what is reported of both models on held-out records, or, of pixels only, on those of calibration."""
        held_out = self._source("eval")
        shown = held_out or self._source("calibration")
        accuracy, test = (None, None) if held_out is None else self._accuracy(model, small, held_out)
        moved = None if shown is None else self._reaction(model, small, shown)
        verdict, said = judge_accuracy(accuracy)
        blind = judge_reaction(moved)
        if moved is not None:
            self.log.gate("media-changes-output", ok=not blind, base=moved.base, quantised=moved.quantised)
        if accuracy is not None:
            detail = accuracy.lost.model_dump(mode="json")
            self.log.gate("accuracy", ok=verdict != "not_good", verdict=verdict, budget=accuracy.budget, lost=detail)
        return {
            "verdict": "not_good" if blind else verdict,
            "accuracy": accuracy,
            "reaction": moved,
            "test_answer": test if self.plan.proof.test_answer else None,
            "findings": (*said, *blind),
        }

    def _accuracy(self, model: nn.Module, small: nn.Module, source: SampleSource) -> tuple[Accuracy, TestAnswer]:
        """Let both answer the same records; writes their results and metrics.json."""
        limit, generation = self.plan.proof.limit, self.plan.generation
        count = min(len(source.ledger), limit) if limit is not None else len(source.ledger)
        rows: list[list[Result]] = []
        for title, each in (("base", model), ("quantised", small)):
            responder = Responder(each, source, self.tokenizer, self.world.device)
            rows.append(answer_all(title, responder, source, generation, count=count))
        kind = detect_kind(row.gt for row in rows[0])
        first, second = (judged(each, kind) for each in rows)
        write_results(first, self.run_dir / BASE_RESULTS)
        write_results(second, self.run_dir / RESULTS_NAME)
        reports = [score(each, kind=kind) for each in (first, second)]
        pairs = [(bool(one.correct), bool(two.correct)) for one, two in zip(first, second, strict=True)]
        figures = (report.metrics["accuracy"] for report in reports)
        accuracy = count_pairs(pairs, self.plan.proof.accuracy_budget, *figures)
        self._write_metrics(reports[0], reports[1], accuracy)
        return accuracy, TestAnswer(question=first[0].question, base=first[0].response, quantised=second[0].response)

    def _write_metrics(self, base: MetricsReport, small: MetricsReport, accuracy: Accuracy) -> None:
        """Write metrics.json of the quantised model, the base beside it, the difference of accuracy paired."""
        lost = accuracy.lost
        gained = lost.model_copy(
            update={
                "value": None if lost.value is None else -lost.value,
                "low": None if lost.high is None else -lost.high,
                "high": None if lost.low is None else -lost.low,
            }
        )
        both = compare(small, base=base, base_model=self.plan.model.path)
        assert both.base is not None
        other = both.base.model_copy(update={"difference": {**both.base.difference, "accuracy": gained}})
        done = both.model_copy(update={"base": other, "spec_sha256": self.plan.spec_sha256})
        write_metrics(done, self.run_dir / "metrics.json")

    def _reaction(self, model: nn.Module, small: nn.Module, source: SampleSource) -> Reaction | None:
        items = with_media(source)
        if not items:
            return None
        base, quantised = (reaction(one, self.family, source, items, self.world.device) for one in (model, small))
        return Reaction(base=base, quantised=quantised, records=min(PROBED, len(items)))

    def _finish(self, report: QuantizeReport, folder: Path, *, started: str, seconds: float) -> None:
        """Give the folder its name, its mark inside; then say that the run is complete."""
        text, target = report.model_dump_json(by_alias=True, indent=1) + "\n", self.run_dir / MODEL
        write_atomically(folder / QUANTIZED, text)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        write_atomically(self.run_dir / QUANTIZED, text)
        shutil.rmtree(self.work)
        measured = report.accuracy is not None
        metrics = {
            "bytes_before": float(sum(report.sizes.before.values())),
            "bytes_after": float(sum(report.sizes.after.values())),
        }
        if report.accuracy is not None and report.accuracy.lost.value is not None:
            metrics["accuracy_lost"] = report.accuracy.lost.value
        self.log.complete(
            RunRecord(
                action=self.plan.action,
                family=self.plan.family,
                spec_sha256=self.plan.spec_sha256,
                started_at=started,
                finished_at=now(),
                seconds=round(seconds, 2),
                records=report.accuracy.lost.n if report.accuracy is not None else 0,
                gates=tuple(self.log.gates),
                metrics=metrics,
                outputs={"model": str(MODEL), "quantized": QUANTIZED}
                | ({"results": RESULTS_NAME, "metrics": "metrics.json"} if measured else {}),
                parents={"model": self.plan.model.path},
            )
        )
