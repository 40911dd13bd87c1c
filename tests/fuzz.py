"""One seeded generator of broken specs and data files over all families, and what must hold of each.

A case is a good spec or file with one to four mutations, of its values or of its bytes. Whatever it is, checking it
ends in time with a report, or with a refusal that names the file: no other exception, no unbounded output.
Run some thousands by hand: python tests/fuzz.py FOLDER FIRST COUNT
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from factory import make_dataset, make_image, make_record
from mutations import mutate, mutate_bytes
from project import Project
from specs import to_toml
from structured import TASKS, StructuredProject
from tao_runtime.bank.templates import render_template
from tao_runtime.data import media
from tao_runtime.data.header import read_header
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.record_repair import RecordRepair
from tao_runtime.data.rewrite import rewrite
from tao_runtime.errors import Finding, FindingsError, InputError
from tao_runtime.preflight.prepare import prepare
from tao_runtime.spec.base import DatasetRef
from tao_runtime.spec.families import spec_classes

CHILDREN = media.read_headers
MEMORY = 2 << 30  # bytes of address space that a case may add
LIMIT_S = 20.0  # of one case, on a busy machine; most take milliseconds
MAX_OUTPUT = 1 << 20  # bytes of a report, or of a refusal
ACTIONS = ("train", "evaluate", "inference")


@dataclass
class Corpus:
    """Good specs and data in a folder."""

    root: Path
    specs: list[dict[str, Any]] = field(default_factory=list)  # of data that are here
    others: list[dict[str, Any]] = field(default_factory=list)  # recipes and templates
    files: list[tuple[DatasetRef, Path, bytes]] = field(
        default_factory=list
    )  # how it is read, where it lies, its bytes

    @classmethod
    def make(cls, root: Path) -> Corpus:
        made = cls(root)
        project = Project(root / "reason")
        made.specs += [project.tables(action) for action in (*ACTIONS, "quantize")]
        for family in TASKS:
            world = StructuredProject(root / family, family)
            made.specs += [world.tables(action) for action in ACTIONS]
        recipes = sorted((Path(__file__).parents[1] / "skills").glob("*/assets/recipes/*"))
        made.others += [_tree(path.read_text(), path.suffix) for path in recipes]
        made.others += [_tree(render_template(spec), ".yaml") for spec in spec_classes()]
        made.add_files()
        return made

    def add_files(self) -> None:
        """Add data files of every layout; the probe is run once on each, so that headers are remembered."""
        data = make_dataset(self.root / "llava", 4)
        make_image(data / "a.png")
        records = json.dumps(
            [make_record(i, f"clip_{i % 2}.mp4", answer=f"é{i}") for i in range(6)], ensure_ascii=False
        )
        self.add("llava", data / "annotations.json", records)
        self.add("llava", data / "b.jsonl", "\n".join(json.dumps(make_record(i)) for i in range(4)))
        clips = self.root / "cosmos3_vision" / "data" / "train"
        self.add("video-jsonl", clips / "video_dataset_file.jsonl", (clips / "video_dataset_file.jsonl").read_text())
        physics = make_dataset(self.root / "physics" / "media", 1, num_clips=2)
        turns = make_record(0)["conversations"]
        (physics.parent / "text").mkdir()
        (physics.parent / "text" / "clip_1.json").write_text(json.dumps(turns))
        entries = [{"id": "clip_0", "conversations": turns}, "clip_1"]
        self.add("videophy2", physics.parent / "meta.json", json.dumps(entries))
        folder = self.root / "cosmos_predict1" / "data"
        self.add("video-folder", folder / "metas" / "0.txt", (folder / "metas" / "0.txt").read_text(), folder)

    def add(self, layout: str, path: Path, text: str, annotation: Path | None = None) -> None:
        path.write_text(text)
        ref = DatasetRef("train", str(annotation or path), "", "data.annotation", "data.media", format=layout)
        probe_dataset(ref)
        self.files.append((ref, path, text.encode()))


def _tree(text: str, suffix: str) -> dict[str, Any]:
    import tomllib

    found = tomllib.loads(text) if suffix == ".toml" else yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def in_process(jobs: list[Any], **_: object) -> Iterator[Any]:
    """Read headers here: a child for each case would take most of the time, and tests/data/test_media.py has those."""
    yield from ((number, read_header(path, kind)) for number, path, kind in jobs)


class Fuzz:
    """Runs cases by number; the same number is the same case."""

    def __init__(self, corpus: Corpus, scratch: Path) -> None:
        self.corpus, self.scratch = corpus, scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.outcomes: Counter[str] = Counter()

    def run(self, number: int) -> str:
        """Run one case; returns what is wrong with its outcome, '' for nothing."""
        rng = random.Random(number)
        kind: Callable[[random.Random], str] = rng.choice((self._spec, self._spec, self._file))
        started, media.read_headers = time.monotonic(), in_process  # type: ignore[assignment]
        try:
            with _limit(LIMIT_S):
                size = len(kind(rng))
        except (InputError, FindingsError) as error:
            size = len(str(error))
            self.outcomes[type(error).__name__] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            lines = "".join(traceback.format_exception(error)).splitlines()
            return f"case {number}: " + "\n".join(line[:200] for line in lines[-24:])
        finally:
            media.read_headers = CHILDREN
        if size > MAX_OUTPUT:
            return f"case {number}: {size:,} characters of output"
        took = time.monotonic() - started
        return f"case {number}: {took:.1f} s" if took > LIMIT_S else ""

    def _spec(self, rng: random.Random) -> str:
        tree: object = rng.choice(self.corpus.specs if rng.random() < 0.7 else self.corpus.others)
        structural = rng.random() < 0.8
        for _ in range(rng.choice((1, 1, 1, 2, 4)) if structural else 0):
            tree = mutate(tree, rng, stop=0.02, names=())
        suffix = rng.choice((".yaml", ".json", ".toml"))
        raw = _dump(tree, suffix)
        if not structural:
            raw = mutate_bytes(raw, rng)
        path = self.scratch / f"spec{suffix}"
        path.write_bytes(raw)
        action, overrides = rng.choice((None, *ACTIONS)), []
        if rng.random() < 0.2:
            overrides = [f"{rng.choice(_keys(tree) or ['x'])}={rng.choice(OVERRIDES)}"]
        prepared = prepare(
            path, overrides, action=action, nproc=rng.choice((None, 1, 2, 8)), offline=rng.random() < 0.5
        )
        self.outcomes["report"] += 1
        return prepared.report.model_dump_json(by_alias=True) + prepared.report.render()

    def _file(self, rng: random.Random) -> str:
        ref, path, raw = rng.choice(self.corpus.files)
        path.write_bytes(_mutated_file(path, raw, rng))
        try:
            found = probe_dataset(ref)
            shown = [one.render() for one in found.findings]
            self.outcomes["data report"] += 1
            if ref.format == "llava" and rng.random() < 0.5:
                self._repair(ref, path)
            return "\n".join(shown)
        finally:
            path.write_bytes(raw)

    def _repair(self, ref: DatasetRef, path: Path) -> None:
        """What is kept of a repaired file has no error; to repair it again changes nothing."""
        target = self.scratch / f"repaired{path.suffix}"
        rewrite(path, target, RecordRepair(path.parent, "conversations", frozenset()))
        again = probe_dataset(DatasetRef("train", str(target), str(path.parent), "a", "m"))
        errors = [one for one in again.findings if one.severity == "error" and one.rule != "dataset/no-records"]
        assert not errors, [one.render() for one in errors]
        assert isinstance(again.findings, tuple) and all(isinstance(one, Finding) for one in again.findings)
        twice = rewrite(target, self.scratch / f"twice{path.suffix}",
                        RecordRepair(path.parent, "conversations", frozenset()))  # fmt: skip
        assert (twice.changed, twice.kept) == (0, twice.records), twice
        self.outcomes["repaired"] += 1


OVERRIDES = ("1", "-1", "1e999", ".nan", "null", "[]", "{}", "[1, {a: b}]", "x" * 300, "é", '"', "${HOME}", "???", "")


def _keys(tree: object, prefix: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return []
    found = [f"{prefix}{name}" for name in tree]
    return [*found, *(key for name, value in tree.items() for key in _keys(value, f"{prefix}{name}."))]


def _dump(tree: object, suffix: str) -> bytes:
    """Write a tree; in JSON where another form cannot say it."""
    try:
        if suffix == ".toml" and isinstance(tree, dict):
            return to_toml(tree).encode("utf-8", "surrogatepass")
        if suffix == ".yaml":
            return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, TypeError):
        pass
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _mutated_file(path: Path, raw: bytes, rng: random.Random) -> bytes:
    if path.suffix == ".txt" or rng.random() < 0.3:
        return mutate_bytes(raw, rng)
    lines = path.suffix == ".jsonl"
    values: object = [json.loads(line) for line in raw.splitlines()] if lines else json.loads(raw)
    for _ in range(rng.randint(1, 4)):
        values = mutate(values, rng, stop=0.1)
    if lines and isinstance(values, list):
        text = "\n".join(json.dumps(value) for value in values)
    else:
        text = json.dumps(values, ensure_ascii=rng.random() < 0.5)
    data = text.encode("utf-8", "surrogatepass").replace(b"Infinity", b"1e999" if rng.random() < 0.9 else b"Infinity")
    return b"\xef\xbb\xbf" + data if rng.random() < 0.05 else data


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread when the time is up, and MemoryError where a case takes MEMORY more."""

    def end(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds:g} s")

    before, (soft, hard) = signal.signal(signal.SIGALRM, end), resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main(folder: Path, first: int, count: int) -> int:
    """Run cases and print those that break a law."""
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.update(HF_HOME=str(folder / "hub"), XDG_CACHE_HOME=str(folder / "cache"))
    fuzz, broken, started = Fuzz(Corpus.make(folder / "corpus"), folder / "scratch"), 0, time.monotonic()
    os.chdir(folder)
    for number in range(first, first + count):
        if wrong := fuzz.run(number):
            broken += 1
            print(wrong, flush=True)
    print(f"{count} cases in {time.monotonic() - started:.0f} s, {broken} broken, {dict(fuzz.outcomes)}")
    return broken


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), int(sys.argv[3]))))
