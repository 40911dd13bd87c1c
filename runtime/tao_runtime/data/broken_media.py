"""Findings about media files that do not open: each with the first record that names it, at most 20 of a rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tao_runtime.data.facts import MediaHeader, MediaKind, RecordColumns
from tao_runtime.data.fold import MAX_PER_RULE
from tao_runtime.errors import Finding


def name_records(
    results: Sequence[MediaHeader | Finding], files: Sequence[tuple[str, MediaKind]], columns: RecordColumns
) -> tuple[Finding, ...]:
    """Return the findings among the headers of a data set's files, and a count of those beyond 20 of a rule."""
    broken = [(number, one) for number, one in enumerate(results) if isinstance(one, Finding)]
    first: dict[str, int] = {}
    if broken:
        owner = np.repeat(np.arange(len(columns)), np.diff(columns.media_start))
        for number, _ in broken:
            first[files[number][0]] = int(owner[np.argmax(columns.media_index == number)])
    kept: dict[str, list[Finding]] = {}
    for _, finding in broken:
        kept.setdefault(finding.rule, []).append(finding.model_copy(update={"record": first.get(finding.file or "")}))
    out: list[Finding] = []
    for rule, found in kept.items():
        out += found[:MAX_PER_RULE]
        if (more := len(found) - MAX_PER_RULE) > 0:
            saw, where = f"and {more:,} more", found[0].where
            out.append(Finding(rule=rule, severity="error", where=where, saw=saw, want="none of them"))
    return tuple(out)
