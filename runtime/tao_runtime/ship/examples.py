"""Which questions are shown: those that were lost, spread over the slices, then a few that were gained."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from tao_runtime.score.results import Result
from tao_runtime.score.ship import Flip

TEXT_CHARS = 2000  # of an answer or a question; a model that never stops must not fill the page


def choose_flips(
    before: Sequence[Result], after: Sequence[Result], changes: Sequence[float], *, roots: str | None, limit: int
) -> tuple[Flip, ...]:
    """Return at most `limit` examples, the greatest losses first, at least a quarter of the room for gains."""
    lost = _spread([i for i, change in enumerate(changes) if change < 0], before, changes)
    gained = _spread([i for i, change in enumerate(changes) if change > 0], before, [-change for change in changes])
    num_gained = min(len(gained), max(limit // 4, limit - len(lost)))
    chosen = [*lost[: limit - num_gained], *gained[:num_gained]]
    return tuple(
        Flip(
            id=_cut(before[i].key),
            question=_cut(before[i].question),
            ground_truth=_cut(before[i].gt),
            before=_said(before[i]),
            after=_said(after[i]),
            change=changes[i],
            media=place(roots, before[i].video or after[i].video),
        )
        for i in chosen
    )


def place(root: str | None, name: str | None) -> str | None:
    """Full path of a medium; None if it leads out of the root, links followed: results may come from anywhere."""
    if root is None or not name or "\0" in name or to_utf8(name) != name:
        return None
    base = os.path.realpath(root)
    full = os.path.realpath(os.path.join(base, name))  # noqa: PTH118  takes any text; Path raises on some
    return full if full.startswith(base.rstrip("/") + "/") else None


def _spread(indices: list[int], rows: Sequence[Result], changes: Sequence[float]) -> list[int]:
    """Order by slices in turn, largest slice first, so that one slice does not fill the page."""
    slices = defaultdict[tuple[str, str], list[int]](list)
    for index in sorted(indices, key=lambda i: changes[i]):
        slices[rows[index].question, rows[index].gt].append(index)
    queues = sorted(slices.values(), key=len, reverse=True)
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def to_utf8(text: str) -> str:
    """Text that can be written: a lone surrogate, which JSON may hold, cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str) -> str:
    text = to_utf8(text[: TEXT_CHARS + 1])
    return text if len(text) <= TEXT_CHARS else text[:TEXT_CHARS] + " ..."


def _said(row: Result) -> str | None:
    return None if row.response is None else _cut(row.response)
