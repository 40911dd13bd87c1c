"""`check --fix`: repaired copies in a folder of their own, and a second check of them. Sources are only read."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tao_runtime.data.annotations import MEDIA_LABEL, locate, scan_annotations
from tao_runtime.data.clip_fix import PROBES, rewrite_clips
from tao_runtime.data.facts import Facts
from tao_runtime.data.json_stream import LINES_SUFFIXES
from tao_runtime.data.paths import exists, make_folder
from tao_runtime.data.record_repair import RecordRepair
from tao_runtime.data.rewrite import Rewritten, rewrite
from tao_runtime.errors import FindingsError, InputError
from tao_runtime.preflight.prepare import Prepared, prepare
from tao_runtime.preflight.regroup import Split, regroup, write_split
from tao_runtime.preflight.report import Report, from_findings
from tao_runtime.preflight.rules.leaks import SIDES
from tao_runtime.spec.base import DatasetRef, Spec
from tao_runtime.spec.keys import find
from tao_runtime.spec.load import dump_spec, load_spec

MAX_ROUNDS: Final = 3
LEAKS: Final = "dataset/train-val-"
SUMMARY: Final = "summary.json"


@dataclass
class Fixed:
    """What was written, and what the second check says."""

    folder: Path
    spec: Path
    keys: dict[str, Any] = field(default_factory=dict)  # of the spec that were set
    sets: dict[str, Rewritten] = field(default_factory=dict)  # by label
    split: Split | None = None
    remaining: Report | None = None

    def summary(self) -> dict[str, Any]:
        """Return what was done, in numbers."""
        sets = {label: {"annotation": str(one.target), "records": one.records, "kept": one.kept, "changed": one.changed,
                        "patched": dict(one.applied), "set_apart": dict(one.reasons)}
                for label, one in self.sets.items()}  # fmt: skip
        split = None
        if self.split:
            counts = {side: len(records) for side, records in self.split.sides.items()}
            split = {"groups": self.split.groups, "moved": self.split.moved, "records": counts}
        left = [] if self.remaining is None else [finding.render() for finding in self.remaining.findings]
        ok = self.remaining is not None and self.remaining.ok
        return {"spec": str(self.spec), "keys": self.keys, "sets": sets, "split": split, "ok": ok, "remaining": left}


def fix_project(
    path: Path, overrides: Sequence[str], report: Report, folder: Path, *, nproc: int | None = None
) -> Fixed:
    """Write corrected spec, repaired annotations and a split without leaks, and check them.

    Raises FindingsError for a spec that its patches do not make loadable, InputError for a folder that holds a source.
    """
    done = Fixed(folder, folder / f"{path.stem}.yaml")
    done.keys.update(_patches(report))
    spec = load_spec(path, [*overrides, *texts(done.keys)])
    sources = [path, *(locate(ref)[0] for ref in spec.datasets())]
    targets = [done.spec, *(_target(ref, folder) for ref in spec.datasets())]
    if taken := [
        one for one in targets for source in sources if exists(one) and exists(source) and one.samefile(source)
    ]:
        raise InputError(f"--fix {folder}: would write over {taken[0]}; want another folder")
    make_folder(folder, "--fix")
    for ref in spec.datasets():
        done.keys.update(_repair(ref, spec, folder, done))
    first = _check(path, overrides, done, nproc)
    for _ in range(MAX_ROUNDS):  # what was set may bring another rule into sight
        more = {key: value for key, value in _patches(first.report).items() if key not in done.keys} if first else {}
        if not more:
            break
        done.keys.update(more)
        first = _check(path, overrides, done, nproc)
    if first is not None and any(one.rule.startswith(LEAKS) for one in first.report.findings):
        done.keys.update(_split(first.spec, first.facts, done))
        _check(path, overrides, done, nproc)
    _write_diff(path, overrides, done)
    (folder / SUMMARY).write_text(json.dumps(done.summary(), indent=1) + "\n")
    return done


def _patches(report: Report) -> dict[str, Any]:
    """Return what errors and warnings suggest for the spec; a note is for its reader to decide."""
    patch: dict[str, Any] = {}
    for finding in report.findings:
        if finding.severity != "note" and finding.record is None and finding.fix is not None and finding.fix.patch:
            patch.update(finding.fix.patch)
    return patch


def texts(keys: Mapping[str, Any]) -> list[str]:
    """Return overrides as a command line has them."""
    return [f"{key}={json.dumps(value)}" for key, value in keys.items()]


def _check(path: Path, overrides: Sequence[str], done: Fixed, nproc: int | None) -> Prepared | None:
    """Write the spec, check it, and keep what the check says."""
    spec = load_spec(path, [*overrides, *texts(done.keys)])
    done.spec.write_text(dump_spec(spec))
    try:
        prepared = prepare(done.spec, action=spec.action, nproc=nproc)
    except FindingsError as error:
        done.remaining = from_findings(error.findings, action=spec.action, family=spec.family)
        return None
    done.remaining = prepared.report
    return prepared


def _target(ref: DatasetRef, folder: Path) -> Path:
    if ref.format in PROBES:
        return folder / ref.label / ("" if ref.format == "video-folder" else Path(ref.annotation).name)
    suffix = Path(ref.annotation).suffix.lower()
    return folder / f"{ref.label}{suffix if suffix in LINES_SUFFIXES else '.json'}"


def _repair(ref: DatasetRef, spec: Spec, folder: Path, done: Fixed) -> dict[str, Any]:
    """Rewrite a data set; returns the keys that name the copy. {}: nothing was to be done."""
    if ref.format in PROBES:
        return _repair_clips(ref, folder, done)
    if ref.format != "llava" or ref.label == MEDIA_LABEL:
        return {}
    source, root = locate(ref)
    try:
        scan = scan_annotations(ref, conversation_key=ref.conversation_key)
        repair = RecordRepair(root, ref.conversation_key, scan.repeated)
        repair.probe(scan.files)
        found = rewrite(source, _target(ref, folder), repair)
    except InputError:  # cannot be read at all: the check says so
        return {}
    if not found.changed and found.kept == found.records:
        for one in (found.target, found.quarantine, found.diff):
            one.unlink()
        return {}
    done.sets[ref.label] = found
    return _keys(ref, spec, found.target, root)


def _repair_clips(ref: DatasetRef, folder: Path, done: Fixed) -> dict[str, Any]:
    home = folder / ref.label
    if exists(home):
        if not exists(folder / SUMMARY):
            raise InputError(f"--fix {folder}: {home} is there already; want another folder")
        shutil.rmtree(home)  # of an earlier repair
    found = rewrite_clips(ref, home)
    if found is None:
        return {}
    done.sets[ref.label] = found
    if ref.format == "video-folder":
        return {ref.annotation_key: str(found.target.absolute())}
    beside = f"{ref.annotation_key.rpartition('.')[0]}.dataset_file"
    return {ref.annotation_key: str(found.target.absolute().parent), beside: found.target.name}


def _keys(ref: DatasetRef, spec: Spec, annotation: Path, root: Path) -> dict[str, Any]:
    """Return the keys of a spec that name an annotation file and its media root."""
    media = ref.media_key
    if media == ref.annotation_key:
        media = f"{ref.annotation_key.rpartition('.')[0]}.media_path"
    known = find(type(spec), media).unknown is None
    return {ref.annotation_key: str(annotation.absolute()), **({media: str(root.absolute())} if known else {})}


def _split(spec: Spec, facts: Facts, done: Fixed) -> dict[str, Any]:
    refs = {ref.label: ref for ref in spec.datasets() if ref.format == "llava" and ref.label in SIDES}
    split = regroup(facts) if len(refs) == len(SIDES) else None
    if split is None:
        return {}
    targets, root = write_split(facts, split, done.folder / "split")
    done.split = split
    keys: dict[str, Any] = {}
    for side, ref in refs.items():
        keys.update(_keys(ref, spec, targets[side], root))
    return keys


def _write_diff(path: Path, overrides: Sequence[str], done: Fixed) -> None:
    try:
        before = dump_spec(load_spec(path, overrides))
    except FindingsError:
        before = path.read_text(encoding="utf-8", errors="replace")
    names = (path.name, done.spec.name)
    lines = difflib.unified_diff(before.splitlines(), done.spec.read_text().splitlines(), *names, lineterm="", n=1)
    (done.folder / "spec.diff").write_text("\n".join(lines) + "\n")
