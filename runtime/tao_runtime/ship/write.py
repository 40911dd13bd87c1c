"""From a report to files: ship.json, and the page with its pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tao_runtime.data.paths import make_folder
from tao_runtime.errors import Finding
from tao_runtime.score.ship import ShipReport
from tao_runtime.ship import rules
from tao_runtime.ship.page import MOST_PICTURES, render_page
from tao_runtime.ship.thumbnails import thumbnail

PAGE, REPORT = "ship.html", "ship.json"


def write_ship(report: ShipReport, out: Path, *, progress: Callable[[int, int], object] | None = None) -> ShipReport:
    """Write `out`/ship.html and ship.json; returns the report with what was found on the way."""
    make_folder(out)
    flips = [flip for each in report.sets for versus in each.versus for flip in versus.flips]
    media = list(dict.fromkeys(flip.media for flip in flips if flip.media is not None))[:MOST_PICTURES]
    pictures: dict[str, str] = {}
    for number, name in enumerate(media):
        if progress is not None:
            progress(number, len(media))
        picture = thumbnail(name)
        if picture is not None:
            pictures[name] = picture
    unseen = [flip for flip in flips if flip.media is None or (flip.media in media and flip.media not in pictures)]
    if unseen:
        finding = _not_found(unseen[0].media, len(unseen), len(flips))
        report = report.model_copy(update={"findings": (*report.findings, finding)})
    report = report.model_copy(update={"page": PAGE})
    _write(out / PAGE, render_page(report, pictures))
    _write(out / REPORT, report.model_dump_json(by_alias=True, indent=1) + "\n")
    return report


def _not_found(media: str | None, count: int, total: int) -> Finding:
    rule = rules.NO_THUMBNAIL
    why = f"{media} cannot be read" if media else "nothing says where the clips lie"
    return Finding(
        rule=rule.name,
        severity=rule.severity,
        where="--media-root",
        saw=f"{count} of {total} examples have no picture: {why}",
        want="the directory that media names of the annotations are relative to",
    )


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
