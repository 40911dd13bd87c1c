"""The demo's rounds: base, round 1 with a slice missing, its gaps, mining, round 2; and the table that ends it."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from tao_runtime.deft.dataset import merge
from tao_runtime.deft.gaps import find_gaps
from tao_runtime.deft.mine import media_files, mine, sha256_of
from tao_runtime.deft.records import AnnotationSet, open_set
from tao_runtime.deft.table import interval, print_gaps
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.demo.once import run_once
from tao_runtime.errors import RunError
from tao_runtime.score.gap import GapReport
from tao_runtime.score.interval import Estimate, proportion
from tao_runtime.score.results import Result, read_results

HELD_OUT = Path("heldout")


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to."""

    name: str
    records: int
    steps: int
    answers: tuple[Result, ...]
    seconds: float

    def accuracy(self, truth: str | None = None) -> Estimate:
        """Return the share of right answers, overall or where the truth is `truth`."""
        rows = [row for row in self.answers if truth in (None, row.gt)]
        return proportion(sum(bool(row.correct) for row in rows), len(rows))


def run_rounds(out: Path) -> None:
    """Run everything in `out`; what is complete already is not run again."""
    console = Console()
    with chdir(out):
        base = run_round("round-0", train=None, console=console)
        first = run_round("round-1", train=Path("train"), console=console)
        gaps = find_round_gaps("round-1", console)
        weak = gaps.slices[0].ground_truth
        console.print(f"\nround 1 fails on [bold]{weak!r}[/]; mining clips of it from pool/")
        second = run_round("round-2", train=mine_next(Path("round-1/gaps.parquet")), console=console)
        find_round_gaps("round-2", console)
        console.print(summary([base, first, second], weak))
    console.print(f"everything is in {out}: specs, plans, metrics, checkpoints, exports, results, gaps")


def run_round(name: str, *, train: Path | None, console: Console) -> Round:
    """Train on `train` (None: take the base as it is), then answer the held-out clips."""
    folder = Path(name)
    folder.mkdir(exist_ok=True)
    model, records, steps, seconds = Path("model"), 0, 0, 0.0
    if train is not None:
        assert_disjoint(train_set(train), open_set(HELD_OUT))
        console.rule(f"{name}: train on {train}")
        run = run_spec(
            folder,
            "train",
            {
                "results_dir": f"{name}/train",
                "custom.train_dataset.annotation_path": str(train),
                "custom.train_dataset.media_path": str(train_set(train).media_root),
            },
        )
        model, records, steps = folder / "train" / str(run["outputs"]["model"]), run["records"], run["steps"]
        seconds += run["seconds"]
    console.rule(f"{name}: evaluate {model}")
    seconds += run_spec(folder, "evaluate", {"results_dir": f"{name}/evaluate", "model.model_name": str(model)})[
        "seconds"
    ]
    answers = tuple(read_results(folder / "evaluate" / "results.json"))
    return Round(name, records, steps, answers, seconds)


def run_spec(folder: Path, action: str, changes: dict[str, str]) -> dict[str, Any]:
    """Write `<folder>/<action>.yaml` from the demo's spec with changes, run it, and return run.json.

    Raises:
        FindingsError: preflight found errors.
    """
    spec = yaml.safe_load(Path(f"{action}.yaml").read_text())
    for key, value in changes.items():
        *tables, leaf = key.split(".")
        place = spec
        for table in tables:
            place = place[table]
        place[leaf] = value
    path = folder / f"{action}.yaml"
    write_atomically(path, yaml.safe_dump(spec, sort_keys=False))
    return run_once(path, action, Path(changes["results_dir"]))


def find_round_gaps(name: str, console: Console) -> GapReport:
    """Find and print what a round's model gets wrong."""
    report = find_gaps(
        Path(name) / "evaluate", source=open_set(HELD_OUT), gaps_parquet=Path(name) / "gaps.parquet", kind="text"
    )
    print_gaps(report, console)
    return report


def mine_next(gaps_parquet: Path) -> Path:
    """Write round 2's training set: round 1's records and the clips of the pool that the gaps ask for."""
    out, train = Path("round-2/data"), open_set("train")
    if not (out / "manifest.json").is_file():
        wanted = max(1, sum(1 for _ in media_files(train)) // 3)  # as many as each slice of round 1 has
        mined = mine(gaps_parquet, pool=open_set("pool"), train=train, held_out=[open_set(HELD_OUT)], limit=wanted)
        merge(train, mined=mined, out_dir=out, media_root=Path.cwd())
    return out


def train_set(folder: Path) -> AnnotationSet:
    """Return a training set: a mined one names its media from the demo's directory."""
    return open_set(folder, "." if (folder / "manifest.json").is_file() else "")


def assert_disjoint(train: AnnotationSet, held_out: AnnotationSet) -> None:
    """No clip that is judged may be trained on: compared by content.

    Raises:
        RunError: a clip is in both.
    """
    both = content_hashes(train) & content_hashes(held_out)
    if both:
        raise RunError(
            f"{len(both)} clips of {held_out.annotation} are also trained on; the figures would be worthless"
        )


def content_hashes(source: AnnotationSet) -> set[str]:
    """Return the sha256 of every medium of a data set."""
    return {sha256_of(path) for _, _, path in media_files(source) if path is not None}


def summary(rounds: list[Round], weak: str) -> Table:
    """Return the closing table."""
    table = Table("round", "records", "steps", "accuracy", f"accuracy on {weak!r}", "seconds", box=box.SIMPLE_HEAD)
    for each in rounds:
        figures = (interval(each.accuracy()), interval(each.accuracy(weak)))
        table.add_row(each.name, str(each.records), str(each.steps), *figures, f"{each.seconds:.0f}")
    return table
