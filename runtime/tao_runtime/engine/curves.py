"""Curves of training runs as a picture: loss with validation, learning rate, gradient norm. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tao_runtime.engine.run_dir import METRICS
from tao_runtime.errors import InputError

CURVE = "loss.png"
LOSS, VALIDATION, RATE, NORM = "train/loss", "val/avg_loss", "optimizer/lr", "optimizer/grad_norm"
COLOURS = ("#1f6feb", "#d1495b", "#2a9d5c", "#e08e0b", "#7d4fd6", "#0e7c86", "#8a5a44", "#566270")
INK, PALE = "#1b2733", "#d9dee3"
FEW = 40  # points are drawn as such
MIN_POINTS, MIN_STEPS = 10, 100  # one of them makes a run long enough for a picture
SMOOTHED_OVER = 50  # the running mean looks back on 1 / so much of the points

Curve = Mapping[int, float]  # step -> value


def read_curves(run_dir: Path) -> dict[str, dict[int, float]]:
    """Return what a run logged, by name and step. A step that was trained again, after a resume, has its last value.

    Raises:
        InputError: the run has logged nothing.
    """
    path, found = run_dir / METRICS, dict[str, dict[int, float]]()
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        with suppress(ValueError):  # a process that was killed may have left half a line
            row = json.loads(line)
            for name in (LOSS, VALIDATION, RATE, NORM):
                if isinstance(row, dict) and isinstance(row.get(name), int | float):
                    found.setdefault(name, {})[int(row["step"])] = float(row[name])
    if LOSS not in found:
        raise InputError(f"{path}: no {LOSS} in it; want the directory of a training run that logged a step")
    return {name: dict(sorted(curve.items())) for name, curve in found.items()}


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the exponential mean of a curve, without bias at its start; its first value is the curve's own."""
    keep = max(0.0, 1 - SMOOTHED_OVER / max(len(values), 1))
    total, weight, out = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def draw_curves(runs: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Write a PNG of one run, or of several over each other; whole or not at all.

    Raises:
        InputError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError("curves: matplotlib is not installed. Fix: pip install 'tao-run[train]'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  optional, and half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 7.2), dpi=130)
    FigureCanvasAgg(figure)
    loss, rate, norm = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1, 1)})
    for number, (name, curves) in enumerate(runs.items()):
        colour = COLOURS[number % len(COLOURS)]
        _loss(loss, curves, colour, name if len(runs) > 1 else "")
        for axes, key in ((rate, RATE), (norm, NORM)):
            if curve := curves.get(key):
                axes.plot(list(curve), list(curve.values()), color=colour, linewidth=1.2)
    for axes, label in ((loss, "loss"), (rate, "learning rate"), (norm, "gradient norm")):
        _dress(axes, label)
    if _spans_decades([value for curves in runs.values() for value in curves.get(NORM, {}).values()]):
        norm.set_yscale("log")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    norm.set_xlabel("step", color=INK)
    loss.set_title(_title(runs), fontsize=10, loc="left", color=INK)
    if loss.get_legend_handles_labels()[1]:
        loss.legend(frameon=False, fontsize=8, loc="upper right")
    figure.subplots_adjust(left=0.09, right=0.98, top=0.95, bottom=0.07, hspace=0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    figure.savefig(temporary, format="png")
    temporary.replace(path)


def _loss(axes: Any, curves: Mapping[str, Curve], colour: str, name: str) -> None:
    """Every logged loss pale, their running mean over it, validation as points on a line."""
    steps, values = list(curves[LOSS]), list(curves[LOSS].values())
    marker = "." if len(steps) <= FEW else ""
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.9, marker=marker)
    axes.plot(steps, smoothed(values), color=colour, linewidth=1.8, label=name or "training, running mean")
    if validation := curves.get(VALIDATION):
        label = f"{name}, validation" if name else "validation"
        axes.plot(list(validation), list(validation.values()), color=colour if name else COLOURS[1], marker="o",
                  markersize=4, linewidth=1.2, linestyle=(0, (4, 2)), label=label)  # fmt: skip


def _dress(axes: Any, label: str) -> None:
    axes.set_ylabel(label, color=INK)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.margins(x=0.01)


def _spans_decades(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > 50


def _title(runs: Mapping[str, Mapping[str, Curve]]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs"
    [(name, curves)] = runs.items()
    last, value = list(curves[LOSS].items())[-1]
    checked = list(curves.get(VALIDATION, {}).values())[-1:]
    said = "".join(f", validation {each:.4g}" for each in checked)
    return f"{name}: loss {value:.4g}{said} at step {last:,}"


def name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Return a name for each run: as much of the end of its path as tells it from the others."""
    parts = [folder.resolve().parts for folder in folders]
    depth = next(n for n in range(1, 99) if len({each[-n:] for each in parts}) == len(set(parts)))
    return {"/".join(each[-depth:]): folder for each, folder in zip(parts, folders, strict=True)}


def draw_run(run_dir: Path) -> str | None:
    """Draw the picture of a run into its directory; returns why it could not be drawn.

    A few steps are no curve: their lines are read sooner than a picture. `tao-run curve` draws them all the same.
    """
    if not (run_dir / METRICS).is_file():  # it ended before the first step
        return None
    try:
        curves = read_curves(run_dir)
        if len(curves[LOSS]) >= MIN_POINTS or max(curves[LOSS]) >= MIN_STEPS:
            draw_curves({run_dir.name: curves}, run_dir / CURVE)
    except (InputError, OSError) as error:
        return str(error)
    return None
