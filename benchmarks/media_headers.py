"""Headers of small clips, warm: files a second over all cores, and again from the memory of the first scan.

Target: at least 1,000 files a second on 2 cores. Prediction, before the first run: 3,000 (1 ms a file in two processes,
0.2 s to start them). CPU seconds are beside wall seconds, since other work on the machine only adds to the latter.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
NUM_FILES, NUM_CLIPS = 4_000, 20
RESULT = Path(__file__).parent / "results" / "media_headers.json"


def cpu_s() -> float:
    """CPU seconds of this process and of its children that ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from factory import make_clip
    from tao_runtime.data.facts import MediaHeader
    from tao_runtime.data.header_pool import num_cores
    from tao_runtime.data.media import probe_media

    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = [make_clip(root / f"source_{number}.mp4", seed=number) for number in range(NUM_CLIPS)]
        files = [(str(shutil.copy(clips[n % NUM_CLIPS], root / f"{n:05}.mp4")), "video") for n in range(NUM_FILES)]
        for name in ("first", "again"):
            started, used = time.perf_counter(), cpu_s()
            found = probe_media(files, cache=root / "cache" / "headers.sqlite")
            wall = time.perf_counter() - started
            assert all(isinstance(one, MediaHeader) for one in found)
            used = cpu_s() - used
            runs[name] = {"files_per_s": round(NUM_FILES / wall), "files_per_cpu_s": round(NUM_FILES / used),
                          "wall_s": round(wall, 2), "cpu_s": round(used, 2),
                          "cores_used": round(used / wall, 2)}  # fmt: skip
    result = {
        "benchmark": "media_headers",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[0],
        "files": NUM_FILES,
        "processes": num_cores(),
        "target": {"files_per_s": 1000},
        "predicted": {"files_per_s": 3000},
        **runs,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
