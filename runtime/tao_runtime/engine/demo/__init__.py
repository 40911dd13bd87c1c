"""The demo: the whole path on a tiny model and real clips, in minutes on a laptop. Nothing is downloaded.

Round 1 trains on a set that misses one slice; its gaps name the slice. Round 2 mines clips of it from a pool kept
apart, trains again from the same base, and is judged on the same held-out clips.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from tao_runtime.errors import InputError
from tao_runtime.spec.families import FAMILIES


class DemoMaker(Protocol):
    """A module `tao_runtime.engine.demo.<family>`: the model, data and specs of a demo."""

    def prepare(self, out: Path) -> None:
        """Write model/, train/, pool/, heldout/, train.yaml and evaluate.yaml into `out`, unless they are there."""


def run_demo(family: str, out: Path, *, prepare_only: bool) -> None:
    """Prepare the material in `out` and, unless asked not to, run both rounds and print the table.

    Raises:
        InputError: there is no such family.
    """
    family = family or next(iter(FAMILIES))
    if family not in FAMILIES:
        raise InputError(f"family {family}: does not exist; want one of {', '.join(FAMILIES)}")
    maker = cast(DemoMaker, importlib.import_module(f"{__name__}.{family}"))
    maker.prepare(out)
    if prepare_only:
        return
    from tao_runtime.engine.demo.rounds import run_rounds  # noqa: PLC0415 - after the material, which needs no torch

    run_rounds(out)
