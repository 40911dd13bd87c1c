"""How a long look at the data tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

# (what is looked at, how much of it is done, how much there is): records by the bytes of their file, media by number
Progress = Callable[[str, int, int], None]


def part_of(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    """Return the progress of one thing that is looked at."""
    return None if progress is None else lambda done, total: progress(what, done, total)
