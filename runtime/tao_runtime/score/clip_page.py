"""Held-out clips beside what was made of them, for people: a grid as a PNG, and an HTML page that stands alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image, ImageDraw, ImageFont

from tao_runtime.score.clip_results import VideoResults
from tao_runtime.score.interval import Estimate

SHOWN: Final = 6  # frames of a clip, the first and the last among them
HEIGHT, GAP, LABEL, BETWEEN = 128, 4, 116, 14  # pixels
MOST_IN_GRID = 8  # clips; the page shows all of them
ROWS: Final = ("real", "reconstruction", "tuned", "baseline")  # order beside a clip
INK, PAPER, PALE = (27, 39, 51), (255, 255, 255), (120, 130, 140)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def save_strip(frames_THWC: np.ndarray, path: Path) -> None:
    """Write a few frames of a clip side by side, made smaller where they are high."""
    count = len(frames_THWC)
    chosen = np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int))
    high, wide = frames_THWC.shape[1:3]
    height = min(HEIGHT, high) if high < HEIGHT else HEIGHT
    size = (max(1, round(wide * height / high)), height)
    strip = Image.new("RGB", (len(chosen) * (size[0] + GAP) - GAP, height), PAPER)
    for number, index in enumerate(chosen.tolist()):
        frame = Image.fromarray(frames_THWC[index]).resize(size, Image.Resampling.LANCZOS)
        strip.paste(frame, (number * (size[0] + GAP), 0))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    strip.save(temporary, "PNG")
    temporary.replace(path)


def by_clip(strips: Sequence[Path]) -> dict[int, dict[str, Path]]:
    """Return the strips of each clip, `<position>-<row>.png`, by position and row."""
    found: dict[int, dict[str, Path]] = {}
    for path in strips:
        position, _, row = path.stem.partition("-")
        found.setdefault(int(position), {})[row] = path
    return {position: {row: rows[row] for row in ROWS if row in rows} for position, rows in sorted(found.items())}


def draw_grid(results: VideoResults, strips: Sequence[Path], path: Path) -> None:
    """Write the first clips as a PNG: under its caption, a row each of real frames and of what was made."""
    clips = list(by_clip(strips).items())[:MOST_IN_GRID]
    opened = [[(row, Image.open(file)) for row, file in rows.items()] for _, rows in clips]
    font = ImageFont.load_default(14)
    width = LABEL + max(strip.width for rows in opened for _, strip in rows) + GAP
    title = 26
    height = sum(title + sum(strip.height + GAP for _, strip in rows) + BETWEEN for rows in opened) + GAP
    grid = Image.new("RGB", (width, height), PAPER)
    draw, top = ImageDraw.Draw(grid), GAP
    for (position, _), rows in zip(clips, opened, strict=True):
        clip = results.clips[position]
        seeds = sorted({made.seed for made in clip.made.values()})
        said = "".join(f"seed {seed}, {clip.given_frames} frames given" for seed in seeds)
        right = width - GAP - draw.textlength(said, font=font)
        draw.text((GAP, top + 3), _fit(draw, f"{position}  {clip.caption}", font, right - 3 * GAP), fill=INK, font=font)
        draw.text((right, top + 3), said, fill=PALE, font=font)
        top += title
        for row, strip in rows:
            draw.text((GAP, top + strip.height // 2 - 8), row, fill=PALE, font=font)
            grid.paste(strip, (LABEL, top))
            top += strip.height + GAP
        top += BETWEEN
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    grid.save(temporary, "PNG")
    temporary.replace(path)


def _fit(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """Return a text cut to a width, with an ellipsis."""
    text = " ".join(text.split())
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-8]
    return text + "..."


def interval(found: Estimate | None, digits: int = 4) -> str:
    """Write a figure with its interval."""
    if found is None or found.value is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def write_page(results: VideoResults, strips: Sequence[Path], path: Path) -> None:
    """Write the page, pictures inside it: one file that can be sent. What captions say is text, never markup."""
    environment = Environment(
        loader=PackageLoader("tao_runtime.score", "."),
        autoescape=True,
    )
    environment.filters["interval"] = interval
    clips = [
        (position, results.clips[position], {row: _embedded(file) for row, file in rows.items()})
        for position, rows in by_clip(strips).items()
    ]
    page = environment.get_template("clip_page.html.jinja").render(results=results, clips=clips)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def _embedded(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
