"""`check --fix`: what was repaired, and what no one but its owner can."""

from __future__ import annotations

import sys
from pathlib import Path

from tao_runtime.preflight.fix import SUMMARY, Fixed, fix_project, texts
from tao_runtime.preflight.report import Report


def fix(report: Report, spec: Path, overrides: list[str], folder: Path, *, nproc: int | None) -> None:
    """Write repaired copies into a folder, and say on stderr what they are."""
    done = fix_project(spec, overrides, report, folder, nproc=nproc)
    print("\n".join(_lines(done)), file=sys.stderr)


def _lines(done: Fixed) -> list[str]:
    keys = texts(done.keys)
    lines = [f"{done.spec}: {len(keys)} keys set{': ' if keys else ''}{' '.join(keys)}"]
    for one in done.sets.values():
        patched = ", ".join(f"{rule} {count:,}" for rule, count in one.applied.most_common()) or "none"
        apart = ", ".join(f"{rule} {count:,}" for rule, count in one.reasons.most_common())
        lines.append(f"{one.target}: {one.kept:,} of {one.records:,} records, {one.changed:,} changed ({patched})")
        if apart:
            lines.append(f"{one.quarantine}: {one.records - one.kept:,} records set apart ({apart})")
    if done.split:
        counts = ", ".join(f"{len(records):,} in {side}" for side, records in done.split.sides.items())
        lines.append(f"{done.folder / 'split'}: {counts}; {done.split.groups:,} groups were on both sides")
    left = done.remaining
    if left is not None:
        lines.append(f"of the copies {len(left.findings)} findings remain" + (":" if left.findings else ""))
        lines += [f"  {finding.render()}" for finding in left.findings]
    return [*lines, f"{done.folder / SUMMARY}"]
