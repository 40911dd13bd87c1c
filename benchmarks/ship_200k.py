"""The ship gate on two models' answers to 200,000 questions over 50,000 clips: seconds, peak memory, size of the page.

Prediction, written before the first run: two files decoded and validated, 8 s; judged, 4 s; the rest 2 s. Rows in
memory are about 1 kB each, so 450 MB beside the imports.
Run: python benchmarks/ship_200k.py   (writes benchmarks/results/ship_200k.json)
"""

from __future__ import annotations

import datetime
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_ROWS = 200_000
RESULT = Path(__file__).parent / "results" / "ship_200k.json"


def make_data(folder: Path) -> None:
    """Write phrased answers of two models, four questions on each clip; 80 and 81 of a hundred are right."""
    for model, share in (("base", 0.80), ("tuned", 0.81)):
        rng = random.Random(model)
        (folder / model).mkdir()
        with (folder / model / "results.json").open("w") as results:
            for i in range(NUM_ROWS):
                gt = "yes" if i % 2 else "no"
                said = gt if rng.random() < share else {"yes": "no", "no": "yes"}[gt]
                asked = {"question": f"Is there a collision in zone {i % 50}?", "gt": gt, "video": f"{i // 4:06d}.mp4"}
                row = {"video_id": f"q-{i:06d}", "response": f"The answer is {said}, car #{i:06d}.", **asked}
                results.write(("[" if i == 0 else ",\n") + json.dumps(row))
            results.write("]")


def measure(folder: Path) -> None:
    """Run in a process of its own, so that the peak is that of the gate alone."""
    start = time.perf_counter(), time.process_time()
    from tao_runtime.ship.judge import Options, ResultSet, judge_ship
    from tao_runtime.ship.write import write_ship

    imports_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results = ResultSet("evaluation", "evaluation", {"base": folder / "base", "tuned": folder / "tuned"})
    report = write_ship(judge_ship([results], Options()), folder / "out")
    figures = {
        "pairs": report.sets[0].n,
        "verdict": report.verdict,
        "wall_s": round(time.perf_counter() - start[0], 2),
        "cpu_s": round(time.process_time() - start[1], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_after_imports_mb": round(imports_mb),
        "page_kb": round((folder / "out/ship.html").stat().st_size / 1024),
    }
    print(json.dumps(figures))


def main() -> None:
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        make_data(Path(name))
        out = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True).stdout
    machine = f"{platform.machine()}, Python {platform.python_version()}, {platform.system()}"
    figures = json.loads(out) | {"machine": machine, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
