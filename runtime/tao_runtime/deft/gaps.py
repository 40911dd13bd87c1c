"""Gap analysis: which questions the model gets wrong, of which clips, and where that is systematic."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tao_runtime.data.fold import At, Collector, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.deft import rules
from tao_runtime.deft.join import Annotations
from tao_runtime.deft.parquet import GapWriter, open_gaps, to_utf8
from tao_runtime.deft.records import AnnotationSet, question_of, truth_of, without_tags
from tao_runtime.score.answer import Kind, KindDetector
from tao_runtime.score.gap import Gap, GapReport, Slice
from tao_runtime.score.interval import proportion
from tao_runtime.score.judge import Judgement, Match, judge, token_f1
from tao_runtime.score.results import RESULTS_NAME, Result, find_results, parse_row

MAX_SLICES = 200  # in the report; the rest is counted
PROGRESS_ROWS = 1000


def find_gaps(
    results: Path,
    *,
    source: AnnotationSet,
    gaps_parquet: Path,
    match: Match = "parsed",
    kind: Kind | None = None,
    progress: Callable[[int], object] | None = None,
) -> GapReport:
    """Judge every answer, write the failures to `gaps_parquet`, and report faults and the worst slices.

    `results` is a results.json, or a directory that holds exactly one. `kind` None detects it. Reads the results twice
    and keeps the annotation ids, 20 findings a rule and one counter a slice in memory; nothing else grows with the
    rows. `progress` is called with the number of rows done. Raises InputError for what cannot be read, and then writes
    nothing.
    """
    files = find_results(results)
    if len(files) > 1:
        return _several(files, results, source, match)
    digest = hashlib.sha256()
    faults = Collector(where=RESULTS_NAME, file=str(files[0]))
    annotations = Annotations(source)
    try:
        detected = _detect(files[0], digest.update, faults if kind is None else None)
        kind = kind or detected
        metadata = {
            "tao_run.schema": "tao-run/gaps/1",
            "tao_run.results_sha256": digest.hexdigest(),
            "tao_run.annotations_sha256": annotations.sha256,
        }
        with open_gaps(gaps_parquet, metadata=metadata) as writer:
            run = _Analysis(annotations, faults, writer, kind, match)
            for index, _, _, value in iter_array(files[0]):
                run.see(index, value)
                if progress is not None and index % PROGRESS_ROWS == 0:
                    progress(index)
            run.see_unanswered()
    finally:
        annotations.close()
    findings = (*faults.findings(), *annotations.faults.findings())
    return GapReport(
        ok=all(finding.severity != "error" for finding in findings),
        results=str(files[0]),
        results_sha256=digest.hexdigest(),
        annotations=str(source.annotation),
        annotations_sha256=annotations.sha256,
        media_root=str(source.media_root),
        gaps=str(gaps_parquet),
        kind=kind,
        match=match,
        counts=run.counts(),
        error_rate=proportion(run.failures.total(), run.totals.total()),
        slices=run.slices()[:MAX_SLICES],
        num_slices=len(run.totals),
        findings=findings,
    )


class _Analysis:
    """One pass over the results."""

    def __init__(
        self, annotations: Annotations, faults: Collector, writer: GapWriter, kind: Kind, match: Match
    ) -> None:
        self.annotations, self.faults, self.writer, self.kind, self.match = annotations, faults, writer, kind, match
        self.totals: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.num_rows = 0

    def see(self, index: int, value: object) -> None:
        self.num_rows += 1
        row = parse_row(index, value, self.faults)
        annotation = self.annotations.claim(index, row, self.faults) if row is not None else None
        if row is None or annotation is None:
            return
        if not row.gt.strip():
            self.faults.add(rules.NO_TRUTH, f"gt: {quote(row.gt)}", "a ground truth", at=At(index, "/gt"))
            return
        if row.response is None:
            self.faults.add(rules.NULL_ANSWER, "response: null", "the generated text", at=At(index, "/response"))
        self._judge(annotation, row)

    def see_unanswered(self) -> None:
        """Count and write the annotations that no row answers."""
        for annotation in self.annotations.unanswered():
            record = self.annotations.record(annotation)
            saw = f"no row answers id {quote(record.get('id'))}"
            self.annotations.faults.add(rules.UNANSWERED, saw, "one row per annotation", at=At(annotation, "/id"))
            row = Result.model_construct(
                video_id=str(record.get("id")),
                response=None,
                question=question_of(record),
                gt=truth_of(record),
                error_type="MISSING",
            )
            self._judge(annotation, row)

    def _judge(self, annotation: int, row: Result) -> None:
        seen = judge(row.response, gt=row.gt, kind=self.kind, match=self.match)
        missing = row.error_type == "MISSING" and row.response is None
        error = "MISSING" if missing else seen.error_type
        key = (without_tags(row.question), seen.truth)
        self.totals[key] += 1
        if error is not None:
            self.failures[key] += 1
            self.errors[error] += 1
            self._write(annotation, row, seen, error)

    def _write(self, annotation: int, row: Result, seen: Judgement, error: str) -> None:
        path = self.annotations.media_path(annotation, self.annotations.record(annotation))
        if path is None:
            return
        if not os.path.exists(path):  # noqa: PTH110  takes any text; Path.exists() raises on some
            saw = f"{quote(path)} is not there"
            self.annotations.faults.add(rules.NO_FILE, saw, "a file", at=At(annotation, "/video"))
        self.writer.add(
            Gap.model_construct(
                video_id=path,
                question=row.question,
                ground_truth=row.gt,
                id=row.key,
                response=row.response,
                parsed=seen.parsed,
                error_type=error,
                f1=token_f1(row.response or "", row.gt),
            )
        )

    def counts(self) -> dict[str, int]:
        return {
            "annotations": len(self.annotations),
            "rows": self.num_rows,
            "judged": self.totals.total(),
            "failures": self.failures.total(),
            "written": self.writer.num_rows,
            **{name: self.errors[name] for name in ("FP", "FN", "WRONG", "UNPARSEABLE", "MISSING")},
        }

    def slices(self) -> tuple[Slice, ...]:
        """Slices with failures, worst first: by what the interval still grants at least, so 1 of 1 is no scandal."""
        found = [
            Slice(
                question=to_utf8(q),
                ground_truth=to_utf8(gt),
                n=self.totals[q, gt],
                failures=k,
                error_rate=proportion(k, self.totals[q, gt]),
            )
            for (q, gt), k in self.failures.items()
        ]
        return tuple(sorted(found, key=lambda s: (-(s.error_rate.low or 0.0), -s.failures, s.question, s.ground_truth)))


def _detect(path: Path, on_bytes: Callable[[bytes], object], faults: Collector | None) -> Kind:
    """One pass for the kind of the ground truths; a few of another kind make all text, and that is worth a warning."""
    detector, votes, num_truths = KindDetector(), Counter[Kind](), 0
    for _, _, _, value in iter_array(path, on_bytes=on_bytes):
        gt = value.get("gt") if isinstance(value, dict) else None
        if isinstance(gt, str) and gt.strip():
            num_truths += 1
            votes.update(detector.see(gt))
    for closed, count in votes.items():
        if detector.kind == "text" and faults is not None:
            saw = f"{count:,} of {num_truths:,} ground truths are {closed}, so all answers are compared as text"
            faults.add(rules.NO_KIND, saw, "one kind per file", at=At())
    return detector.kind


def _several(files: tuple[Path, ...], results: Path, source: AnnotationSet, match: Match) -> GapReport:
    faults = Collector(where="results-dir", file=str(results))
    names = ", ".join(str(file.relative_to(results)) for file in files)
    faults.add(rules.SEVERAL, f"{len(files)} files: {names}", "one", at=At(), fix="give the path of one of them")
    return GapReport(
        ok=False,
        results=str(results),
        annotations=str(source.annotation),
        media_root=str(source.media_root),
        gaps=None,
        match=match,
        findings=faults.findings(),
    )
