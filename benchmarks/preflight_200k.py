"""Preflight of 200,000 and 2,000,000 records beside the parse-only floor, and its text tokens beside the tokenizer's.

Targets (CPU seconds of one run on one machine, imports told apart): the whole check of 200,000 LLaVA records at most
1.5 s and 110 MB + 40 bytes a record; 2,000,000 at most 10 x the time; text tokens at most 1.2 x `encode_batch`.
Prediction, before the run that is in the results: check 1.3 s, 92 MB; 10 x at 9.9; tokens 1.1.
The floor is the fastest JSON reader here: msgspec where it is installed, else orjson, else json. Other work on the
machine slows all of them alike, so read the ratios first.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NUM_RECORDS, LARGE, NUM_CLIPS, RUNS, TOKEN_RUNS = 200_000, 2_000_000, 200, 5, 1
ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "preflight_200k.json"
# Each measurement is a process of its own, that prints its figures as JSON.
CHECK = """
import json, resource, sys, time
from pathlib import Path
start = time.process_time()
from tao_runtime.preflight.prepare import prepare
imported = time.process_time()
report = prepare(Path(sys.argv[1])).report
assert report.ok and report.counts.records == int(sys.argv[2]), report.render()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"import_s": imported - start, "check_s": time.process_time() - imported, "peak_mb": peak,
                  "report_bytes": len(report.model_dump_json())}))
"""
FLOOR = """
import gc, importlib.util, json, sys, time
name = next(name for name in ("msgspec.json", "orjson", "json") if importlib.util.find_spec(name.split(".")[0]))
module = importlib.import_module(name)
read = module.decode if name == "msgspec.json" else module.loads
data = open(sys.argv[1], "rb").read()
gc.disable()
start = time.process_time()
read(data)
print(json.dumps({"reader": name, "parse_s": time.process_time() - start}))
"""
TOKENS = """
import json, sys, time
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tao_runtime.data.families import PromptOptions
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.vision import SamplingPlan, lay_out
from tao_runtime.data.cosmos_reason import PROMPT_FORMAT, read_turns, render
from tao_runtime.preflight.rules.cosmos_reason.length import Samples, count_tokens
from tao_runtime.spec.base import DatasetRef
from dataclasses import replace
from pathlib import Path
TOKENISED = 50_000  # records
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_pad|>"]
trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=special, show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train([str(path) for path in Path(sys.argv[2]).rglob("*.md")], trainer)
facts = probe_dataset(DatasetRef("train", sys.argv[1], "", "a", "m"))
samples = Samples(facts, SamplingPlan(fps=2.0), VisionGeometry(), PromptOptions(PROMPT_FORMAT))
texts = []
# Without the pads of media, whose number is arithmetic.
layouts = [replace(lay_out(header, samples.sampling, samples.geometry), tokens_per_step=0) for header in facts.media]
for number, record in enumerate(json.load(open(sys.argv[1] + "/annotations.json"))[:TOKENISED]):
    media = [layouts[index] for index in facts.columns.media_of(number)]
    texts += [segment.text for segment in render(read_turns(record), media, samples.prompt)]
start = time.process_time()
alone = sum(len(one.ids) for at in range(0, len(texts), 4096) for one in tokenizer.encode_batch(texts[at:at + 4096]))
middle = time.process_time()
counts = count_tokens(samples, range(TOKENISED), tokenizer)
done = time.process_time()
whole = [lay_out(header, samples.sampling, samples.geometry).num_tokens for header in facts.media]
visual = sum(whole[index] for number in range(TOKENISED) for index in facts.columns.media_of(number))
equal = alone == int(counts.sum()) - visual
print(json.dumps({"encode_batch_s": middle - start, "text_tokens_s": done - middle, "equal": equal}))
"""


def make_project(root: Path, count: int) -> None:
    """Make the data, record by record, and a spec that is right."""
    sys.path.insert(0, str(ROOT / "tests"))
    from factory import make_clip, make_record, make_snapshot

    for number in range(NUM_CLIPS):
        make_clip(root / "train" / f"clip_{number:04}.mp4", seed=number)
    with (root / "train" / "annotations.json").open("w") as file:
        for number in range(count):
            record = make_record(number, f"clip_{number % NUM_CLIPS:04}.mp4")
            file.write(("[" if not number else ", ") + json.dumps(record))
        file.write("]")
    data = {"train_dataset": {"annotation_path": str(root / "train")}}
    model = {"model_name_or_path": str(make_snapshot(root / "model"))}
    spec = {"results_dir": str(root / "out"), "custom": data, "policy": model}
    (root / "spec.json").write_text(json.dumps(spec))


def measure(code: str, *arguments: object, cache: Path) -> dict[str, Any]:
    """Run code in a process of its own, with its bytecode compiled, as an installed package has it."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env |= {"XDG_CACHE_HOME": str(cache / "cache"), "PYTHONPYCACHEPREFIX": str(cache / "bytecode")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}


def best(runs: list[dict[str, Any]], key: str) -> float:
    return min(float(run[key]) for run in runs)


def prepare(root: Path, count: int) -> None:
    """Make a project, and remember its headers."""
    subprocess.run([sys.executable, __file__, str(root), str(count)], check=True)
    measure(CHECK, root / "spec.json", count, cache=root)


def sized(projects: dict[int, Path]) -> list[dict[str, Any]]:
    """Measure check and floor of every size in turn, so that all see the same machine."""
    runs: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {count: [] for count in projects}
    for _ in range(RUNS):
        for count, root in projects.items():
            shutil.rmtree(root / "cache" / "tao-run" / "scans", ignore_errors=True)  # a scan that is remembered is none
            checked = measure(CHECK, root / "spec.json", count, cache=root)
            runs[count].append((checked, measure(FLOOR, root / "train" / "annotations.json", cache=root)))
    return [_told(count, projects[count], *map(list, zip(*seen, strict=True))) for count, seen in runs.items()]


def _told(count: int, root: Path, checks: list[dict[str, Any]], floors: list[dict[str, Any]]) -> dict[str, Any]:
    again = measure(CHECK, root / "spec.json", count, cache=root)["check_s"]
    check_s, parse_s = best(checks, "check_s"), best(floors, "parse_s")
    law = 110 + 40 * count / 1e6
    return {"records": count, "check_s": check_s, "import_s": best(checks, "import_s"), "parse_floor_s": parse_s,
            "reader": floors[0]["reader"], "ratio_to_floor": round(check_s / parse_s, 2),
            "peak_mb": best(checks, "peak_mb"), "memory_law_mb": law, "report_bytes": checks[0]["report_bytes"],
            "remembered_s": again, "runs": [run["check_s"] for run in checks]}  # fmt: skip


def main() -> None:
    only: Callable[[str], bool] = lambda name: len(sys.argv) == 1 or name in sys.argv  # noqa: E731
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() and len(sys.argv) > 1 else {}
    result |= {
        "benchmark": "preflight_200k",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": os.getloadavg()[0],
        "target": {"check_s": 1.5, "peak_mb": "110 + 40 bytes a record", "large": 10, "text_tokens": 1.2},
        "predicted": {"check_s": 1.3, "peak_mb": 92, "large": 9.9, "text_tokens": 1.1},
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = {name: count for name, count in (("small", NUM_RECORDS), ("large", LARGE)) if only(name)}
        for name, count in names.items():
            prepare(root / name, count)
        found = sized({count: root / name for name, count in names.items()})
        result.update(zip(names, found, strict=True))
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        if only("tokens"):
            if not (root / "small").exists():
                subprocess.run([sys.executable, __file__, str(root / "small"), str(NUM_RECORDS)], check=True)
            runs = [measure(TOKENS, root / "small" / "train", ROOT / "docs", cache=root)
                    for _ in range(TOKEN_RUNS)]  # fmt: skip
            alone, ours = best(runs, "encode_batch_s"), best(runs, "text_tokens_s")
            result["text_tokens"] = {"encode_batch_s": alone, "text_tokens_s": ours, "ratio": round(ours / alone, 2),
                                     "equal": all(run["equal"] for run in runs)}  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    if {"small", "large"} <= result.keys():  # by rounds: what slows the machine slows both
        rounds = zip(result["large"]["runs"], result["small"]["runs"], strict=True)
        result["large_to_small"] = round(statistics.median(large / small for large, small in rounds), 2)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].isdigit():
        make_project(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
