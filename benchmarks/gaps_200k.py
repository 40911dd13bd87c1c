"""Gap analysis of 200,000 phrased answers: seconds and peak memory.

Prediction, written before the first run: JSON decoding of 200,000 rows twice and 200,000 annotations once is about 3 s;
the id index 30 MB; parsing 200,000 sentences at 15 us 3 s. In all 10 s and 160 MB, of which 90 MB are the imports.
Run: python benchmarks/gaps_200k.py   (writes benchmarks/results/gaps_200k.json)
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
RESULT = Path(__file__).parent / "results" / "gaps_200k.json"
PHRASES = (
    "{}",
    "{}.",
    "{}, car #{:06d} stops.",
    "The answer is {}.",
    "<think>frame {1} is dark</think><answer>{0}</answer>",
    "hm",
)


def make_data(folder: Path) -> None:
    """Write annotations and phrased answers to them; one in five is wrong, one in six cannot be read."""
    rng = random.Random(0)
    with (folder / "annotations.json").open("w") as annotations, (folder / "results.json").open("w") as results:
        for i in range(NUM_ROWS):
            gt, question = rng.choice(("yes", "no")), f"Is there a collision in zone {i % 50}?"
            said = gt if rng.random() < 0.8 else {"yes": "no", "no": "yes"}[gt]
            turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": gt}]
            record = {"id": f"clip-{i:06d}", "video": f"{i:06d}.mp4", "video_fps": 8, "conversations": turns}
            row = {"video_id": record["id"], "response": rng.choice(PHRASES).format(said.title(), i)}
            annotations.write(("[" if i == 0 else ",\n") + json.dumps(record))
            results.write(("[" if i == 0 else ",\n") + json.dumps(row | {"question": question, "gt": gt}))
        annotations.write("]")
        results.write("]")


def measure(folder: Path) -> None:
    """Run in a process of its own, so that the peak is that of the analysis alone."""
    start = time.perf_counter(), time.process_time()
    from tao_runtime.deft.gaps import find_gaps
    from tao_runtime.deft.records import open_set

    imports_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = find_gaps(folder, source=open_set(folder), gaps_parquet=folder / "gaps.parquet")
    figures = {
        "rows": report.counts["rows"],
        "failures": report.counts["failures"],
        "wall_s": round(time.perf_counter() - start[0], 2),
        "cpu_s": round(time.process_time() - start[1], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_after_imports_mb": round(imports_mb),
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
