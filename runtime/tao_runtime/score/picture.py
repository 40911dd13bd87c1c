"""The confusion matrix as a picture: counts as text, colour by share of the row."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tao_runtime.errors import InputError
from tao_runtime.score.metrics import MISSING, UNPARSEABLE, MetricsReport

MAX_CLASSES = 30  # more cannot be read


def draw_confusion(report: MetricsReport, path: Path, *, title: str = "") -> None:
    """Write a PNG; rows are ground truths, columns answers, with UNPARSEABLE always last but MISSING.

    Raises InputError without matplotlib, and for text or too many classes, which have no such matrix.
    """
    if find_spec("matplotlib") is None:
        raise InputError(
            "results.save_confusion_matrix: matplotlib is not installed. Fix: pip install 'tao-run[train]'"
        )
    rows, columns = _axes(report)
    if not rows or len(rows) > MAX_CLASSES:
        raise InputError(f"confusion matrix: {len(rows)} classes; want 1 to {MAX_CLASSES} of a closed kind")
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  optional, and half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    counts = np.array([[report.confusion[row].get(column, 0) for column in columns] for row in rows])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2.4 + 1.05 * len(columns), 1.9 + 0.75 * len(rows)), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if share[i, j] > 0.55 else "#1b2733"
        axes.text(j, i - 0.1, f"{count:,}", ha="center", va="center", color=colour, fontsize=12, fontweight="bold")
        axes.text(j, i + 0.22, f"{share[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=8, alpha=0.85)
    axes.set_xticks(range(len(columns)), columns, rotation=30 if len(columns) > 4 else 0, fontsize=9)
    axes.set_yticks(range(len(rows)), [f"{row}  (n = {n:,})" for row, n in zip(rows, counts.sum(axis=1), strict=True)])
    axes.set_xlabel("answer", labelpad=8)
    axes.set_ylabel("ground truth", labelpad=8)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    num_outside = sum(column in (UNPARSEABLE, MISSING) for column in columns)
    axes.axvline(len(columns) - num_outside - 0.5, color="#1b2733", linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title("\n".join(filter(None, (title, _headline(report)))), fontsize=10, loc="left", pad=10)
    figure.colorbar(image, ax=axes, format="{x:.0%}", label="share of the row").outline.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, format="png")
    temporary.replace(path)


def _axes(report: MetricsReport) -> tuple[list[str], list[str]]:
    """Ground truths, and the answers: those first, then answers that are no ground truth, then what is no answer."""
    rows = sorted(report.confusion)
    answers = {answer for row in report.confusion.values() for answer in row}
    outside = [UNPARSEABLE, *([MISSING] if MISSING in answers else [])]
    return rows, [*rows, *sorted(answers - set(rows) - {UNPARSEABLE, MISSING}), *outside]


def _headline(report: MetricsReport) -> str:
    accuracy = report.metrics["accuracy"]
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return "no answers"
    return f"accuracy {accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%}), n = {report.n:,}"
