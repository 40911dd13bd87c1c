"""`tao-run check` of a small spec, as an installed command: wall seconds, and user and system seconds beside them.

Target: 0.5 s wall. Prediction, before the first run: 0.5 s (0.2 s of numpy, pydantic and typer; 0.2 s of our modules
with the specs of five families; 0.1 s for the check). The best of the runs is compared: other work only adds time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS, TARGET = 15, 0.5
RESULT = Path(__file__).parent / "results" / "check_startup.json"
COMMANDS = {
    "check": ["from tao_runtime.cli import main; main()", "check", "--spec"],
    "numpy_pydantic_typer": ["import numpy, pydantic, typer, rich.console; pydantic.create_model('A', x=(int, 1))()"],
}


def measure(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert not os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from project import Project

    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        spec = Project(Path(folder) / "project").spec()
        env |= {"XDG_CACHE_HOME": f"{folder}/cache", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        for number in range(RUNS + 1):  # the first one compiles, opens the clips, and is not counted
            for name, (code, *arguments) in COMMANDS.items():
                command = [sys.executable, "-c", code, *arguments, *([str(spec)] if arguments else [])]
                seen = measure(command, env)
                runs[name] += [seen] if number else []
    result = {
        "benchmark": "check_startup",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[0],
        "runs": RUNS,
        "target_wall_s": TARGET,
        "predicted_wall_s": 0.5,
        **{name: {"best_wall_s": round(min(wall for wall, _ in seen), 3),
                  "best_cpu_s": round(min(cpu for _, cpu in seen), 3),
                  "median_wall_s": round(statistics.median(wall for wall, _ in seen), 3)}
           for name, seen in runs.items()},
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
