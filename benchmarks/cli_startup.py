"""Start of the command line: `tao-run --help` beside `python -c "import typer"`, alternating, best of each.

Prediction, before the first run: 2.2 (typer and rich for the baseline and the help page; the command tree on top).
Target: below 3. The best run is compared, since other work on the machine only ever adds time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

RUNS, TARGET, PREDICTED = 15, 3.0, 2.2
RESULT = Path(__file__).parent / "results" / "cli_startup.json"
COMMANDS = {
    "import_typer": [sys.executable, "-c", "import typer"],
    "help": [sys.executable, "-c", "from tao_runtime.cli import main; main()", "--help"],
}


def measure(command: list[str]) -> float:
    """Return the seconds of a process from start to end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    runs: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(RUNS + 1):  # the first one fills the file cache and is not counted
        for name, command in COMMANDS.items():
            seconds = measure(command)
            if number:
                runs[name].append(seconds)
    result = {
        "benchmark": "cli_startup",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "runs": RUNS,
        **{f"{name}_s": {"best": round(min(seconds), 3), "median": round(statistics.median(seconds), 3)}
           for name, seconds in runs.items()},
        "ratio_of_best": round(min(runs["help"]) / min(runs["import_typer"]), 2),
        "ratio_of_medians": round(statistics.median(runs["help"]) / statistics.median(runs["import_typer"]), 2),
        "predicted": PREDICTED,
        "target": TARGET,
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
