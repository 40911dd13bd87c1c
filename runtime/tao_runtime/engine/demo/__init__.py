"""The demo: the whole path on a tiny model and real clips, in minutes on a laptop. Nothing is downloaded.

A family that answers: round 1 trains on a set that misses one slice; its gaps name the slice. Round 2 mines clips of it
from a pool kept apart, trains again from the same base, and is judged on the same held-out clips. A family that
generates is trained on captioned clips, and what it then generates is read from pixels.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Protocol, cast

from tao_runtime.errors import InputError
from tao_runtime.spec.families import FAMILIES


class DemoMaker(Protocol):
    """A module `tao_runtime.engine.demo.<family>`: the material of a demo, and how it runs."""

    def prepare(self, out: Path) -> None:
        """Write the model, the data and the specs into `out`, unless they are there."""

    def run(self, out: Path) -> None:
        """Run everything that was prepared, and print the table that ends it."""


def run_demo(family: str, out: Path, *, prepare_only: bool) -> None:
    """Prepare the material in `out` and, unless asked not to, run it and print the table.

    Raises:
        InputError: there is no such family.
    """
    family = family or next(iter(FAMILIES))
    if family not in FAMILIES:
        raise InputError(f"family {family}: does not exist; want one of {', '.join(FAMILIES)}")
    maker = cast(DemoMaker, importlib.import_module(f"{__name__}.{family}"))
    begun = time.monotonic()
    maker.prepare(out)
    print(f"base and data are in {out} after {time.monotonic() - begun:.0f} s; what is there is not made again")
    if prepare_only:
        return
    maker.run(out)
