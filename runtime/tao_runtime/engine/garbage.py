"""Garbage collection off the hot path: when this program says, not when a counter of objects does.

A collection walks every object of the process, on one rank at a time, while the others wait in a collective.
"""

from __future__ import annotations

import gc

EVERY = 50  # reports of metrics


class Garbage:
    """Takes over the cyclic collector; what is there at the start stays and is never walked again."""

    def __init__(self) -> None:
        self._asked = 0
        gc.collect()
        gc.freeze()
        gc.disable()

    def collect(self) -> None:
        """Collect what was made lately, now and then; every rank does so after the same step."""
        self._asked += 1
        if self._asked % EVERY == 0:
            gc.collect(1)

    def close(self) -> None:
        """Give the collector back."""
        gc.unfreeze()
        gc.enable()
