"""What records say of the frame rates of their videos, beside what the containers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from pydantic import JsonValue

from tao_runtime.data.annotations import Scan
from tao_runtime.data.facts import MediaHeader
from tao_runtime.data.fold import At, Collector, declare
from tao_runtime.data.llava import VIDEO_FPS
from tao_runtime.errors import Finding, Fix

FPS_TOLERANCE: Final = 0.01
BLOCK: Final = 1 << 16  # records that are compared at a time
FPS_DIFFERS = declare(
    "dataset/video-fps-differs",
    "warning",
    "`video_fps`, and `fps` where a record has it, are within 1 % of the rates in the headers of its videos.",
    source="frame times are computed from it: a wrong rate gives wrong times",
)


def rate_patch(actual: Sequence[float], key: str = "video_fps") -> dict[str, JsonValue]:
    """Return the patch that gives a record the rates of its videos: one number where they are the same."""
    return {key: actual[0] if len(set(actual)) == 1 else list(actual)}


def judge_rates(index: int, said: Mapping[str, Sequence[float]], actual: Sequence[float], findings: Collector) -> None:
    """Report each key of a record that says other rates than its videos have. NaN: a rate that is not known."""
    for key, rates in said.items():
        pairs = list(zip(rates, actual, strict=False))
        wrong = next(((saw, rate) for saw, rate in pairs if abs(saw - rate) > FPS_TOLERANCE * rate), None)
        if wrong is None:
            continue
        saw = f"{key}: {wrong[0]:g}, and {wrong[1]:g} in the file"
        patch = None if np.isnan(actual).any() else rate_patch(actual, key)
        fix = f"set it to {wrong[1]:g}" if len(pairs) == 1 else "give each video its rate"
        findings.add(FPS_DIFFERS, saw, "the rate in the file", at=At(index, f"/{key}"), fix=fix, patch=patch)


def compare_rates(scan: Scan, media: tuple[MediaHeader | None, ...]) -> None:
    """Compare what records say of their videos' rates with the headers."""
    header_fps = np.array([header.fps if header else np.nan for header in media] or [np.nan])
    start = scan.columns.media_start
    said: dict[int, dict[str, list[float]]] = {}
    for at in range(0, len(scan.columns), BLOCK):
        edges = start[at : at + BLOCK + 1]
        single = at + np.flatnonzero((np.diff(edges) == 1) & np.isfinite(scan.fps[at : at + BLOCK]))
        actual = header_fps[scan.columns.media_index[start[single]]]
        # A little closer than the tolerance, for the column is rounded: `judge_rates` decides. NaN is not probed.
        near = np.abs(scan.fps[single] - actual) > 0.99 * FPS_TOLERANCE * actual
        said |= {record: {"video_fps": [float(str(scan.fps[record]))]} for record in single[near].tolist()}
    for record, rates in {
        **said,
        **{each: {**said.get(each, {}), **more} for each, more in scan.rates.items()},
    }.items():
        judge_rates(record, rates, header_fps[scan.columns.media_of(record)].tolist(), scan.findings)


def with_rates(findings: tuple[Finding, ...], scan: Scan, media: tuple[MediaHeader | None, ...]) -> tuple[Finding, ...]:
    """Return the findings, those of a missing rate with the rate that the container gives."""
    return tuple(_with_rate(one, scan, media) if one.rule == VIDEO_FPS.name else one for one in findings)


def _with_rate(finding: Finding, scan: Scan, media: tuple[MediaHeader | None, ...]) -> Finding:
    if finding.record is None:
        return finding
    headers = [media[index] for index in scan.columns.media_of(finding.record)]
    rates = [header.fps for header in headers if header is not None]
    if not rates or len(rates) < len(headers):
        return finding
    text = f"set it to {', '.join(f'{rate:g}' for rate in dict.fromkeys(rates))}, as the file says"
    return finding.model_copy(update={"fix": Fix(text=text, patch=rate_patch(rates))})
