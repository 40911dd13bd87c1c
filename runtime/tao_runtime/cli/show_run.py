"""Rendering of what came of a run: figures, answers, mined records. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tao_runtime.cli.show import COLOURS
from tao_runtime.deft.dataset import Manifest
from tao_runtime.deft.table import interval
from tao_runtime.errors import ExitCode
from tao_runtime.score import clip_page
from tao_runtime.score.clip_results import VIDEO_RESULTS_NAME, VideoResults
from tao_runtime.score.metrics import MetricsReport
from tao_runtime.score.quantized import QuantizeReport
from tao_runtime.score.results import RESULTS_NAME, read_results

SHOWN: Final = 10  # answers of an inference
FIGURES: Final = ("accuracy", "balanced_accuracy", "f1", "off_by_one_accuracy", "pearson", "spearman")
CORRELATIONS: Final = ("pearson", "spearman")  # no shares of anything


def run_text(run_dir: Path, record: Mapping[str, Any]) -> str:
    """Return the few lines that end a run."""
    lines = [f"{record['action']} complete in {record['seconds']:.1f} s: {run_dir}"]
    if record.get("resumed_from"):
        lines.append(f"  resumed from step {record['resumed_from']}")
    lines += [f"  {name}: {run_dir / path}" for name, path in record["outputs"].items()]
    figures = [
        f"{name} {record['metrics'][name]:.4f}" for name in ("train/loss", "val/avg_loss") if name in record["metrics"]
    ]
    figures += _figures(run_dir / "metrics.json") if "metrics" in record["outputs"] else []
    if record["outputs"].get("results") == VIDEO_RESULTS_NAME:
        lines += _video_figures(run_dir / VIDEO_RESULTS_NAME)
    if record["action"] == "inference" and "results" in record["outputs"]:
        lines += [f"  {row.video_id}: {row.response}" for row in islice(read_results(run_dir / RESULTS_NAME), SHOWN)]
    if figures:
        lines.append(f"  {'  '.join(figures)}")
    gates = [gate["gate"] for gate in record["gates"] if gate["ok"]]
    return "\n".join([*lines, f"  gates passed: {', '.join(gates)}"])


def _figures(path: Path) -> list[str]:
    """Return the headline figures of an evaluation, with intervals, and how many answers could not be read."""
    found = MetricsReport.model_validate_json(path.read_text())
    names = [name for name in FIGURES if name in found.metrics]
    lines = [
        f"{name} {(clip_page.interval if name in CORRELATIONS else interval)(found.metrics[name])}" for name in names
    ]
    return [*lines, f"{found.correct} of {found.n} right, {found.unparseable} unparseable, {found.missing} missing"]


def _video_figures(path: Path) -> list[str]:
    """Return what an evaluation of a video generator found, in lines."""
    found = VideoResults.model_validate_json(path.read_text())
    counts, loss = found.counts, found.loss
    lines = [f"  {counts.judged} of {counts.records} clips judged, {counts.unreadable} unreadable"]
    if loss is not None:
        beside = [] if loss.baseline is None else [("baseline", loss.baseline), ("difference", loss.difference)]
        said = [f"{name} {clip_page.interval(each)}" for name, each in [("loss", loss.tuned), *beside]]
        lines.append("  " + "  ".join(said))
    given = {f"{who}, given frames": figures for who, figures in found.given.items()}
    for name, figures in {"video tokenizer": found.reconstruction, **given}.items():
        if figures:
            psnr, ssim = clip_page.interval(figures["psnr"], 2), clip_page.interval(figures["ssim"], 3)
            lines.append(f"  {name}: PSNR {psnr} dB  SSIM {ssim}")
    return lines


def quantized(run_dir: Path, *, as_json: bool) -> int:
    """Print what came of a quantisation, its findings on stderr; returns the exit code."""
    found = QuantizeReport.model_validate_json((run_dir / "quantized.json").read_text())
    if not as_json:
        before, after = found.sizes.before, found.sizes.after
        for part, size in before.items():
            print(f"  {part}: {size / 1e6:,.2f} MB -> {after.get(part, 0) / 1e6:,.2f} MB")
        if found.accuracy is not None:
            base, small, lost = found.accuracy.base, found.accuracy.quantised, found.accuracy.lost
            print(f"  accuracy: base {interval(base)}, quantised {interval(small)}, lost {interval(lost)}")
        print(f"  verdict: {found.verdict.replace('_', ' ')}")
    console = Console(stderr=True, highlight=False)
    for finding in found.findings:
        console.print(Text(finding.render(), style=COLOURS[finding.severity]), soft_wrap=True)
    return int(ExitCode.FINDINGS if found.verdict == "not_good" else ExitCode.DONE)


def mined(manifest: Manifest, out: Path, *, as_json: bool) -> None:
    """Print what was mined."""
    if as_json:
        print(manifest.model_dump_json(by_alias=True, indent=1))
        return
    counts = ", ".join(f"{name} {count:,}" for name, count in manifest.counts.items())
    table = Table("question", "ground truth", "mined", box=box.SIMPLE_HEAD)
    for each in manifest.slices:
        table.add_row(each.question, each.ground_truth, f"{each.mined:,}")
    Console().print(table)
    print(f"{out / 'annotations.json'}: {counts}")
    print(f"next: train with custom.train_dataset.annotation_path={out / 'annotations.json'}", end=" ")
    print(f"custom.train_dataset.media_path={manifest.media_root}")
