"""Garbage collection off the hot path: when this program says, not when a counter of objects does.

A collection walks every object of the process, on one rank at a time, while the others wait in a collective.
"""

from __future__ import annotations

import gc

EVERY = 100  # reports of metrics


class Garbage:
    """Takes over the cyclic collector; what is there after the first steps stays and is never walked again."""

    def __init__(self) -> None:
        self._asked = 0
        gc.disable()

    def collect(self) -> None:
        """Collect what was made lately, now and then; every rank does so after the same step."""
        self._asked += 1
        if self._asked == 1:  # by now everything is imported that training needs, and stays: not walked once, even
            gc.freeze()
        elif self._asked % EVERY == 0:
            gc.collect(1)

    def close(self) -> None:
        """Give the collector back."""
        gc.unfreeze()
        gc.enable()
