"""`probe(spec)`: the only look at the world before a run. What is wrong comes back as findings in the facts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tao_runtime.data import parquet_rules as _parquet  # noqa: F401 - declares its rules
from tao_runtime.data.annotations import MEDIA_LABEL, FoldFactory, locate, scan_annotations
from tao_runtime.data.broken_media import name_records
from tao_runtime.data.clip_prompts import probe_asked
from tao_runtime.data.facts import DatasetFacts, Facts, MediaHeader, MediaKind, RecordColumns, TrainedOn
from tao_runtime.data.fold import At, Collector, declare
from tao_runtime.data.host import existing_parent, probe_host
from tao_runtime.data.media import cache_path, probe_media
from tao_runtime.data.paths import can_be_path, exists, is_dir, is_file
from tao_runtime.data.progress import Progress, part_of
from tao_runtime.data.rates import compare_rates, with_rates
from tao_runtime.data.references import SUFFIXES
from tao_runtime.data.same_content import same_content
from tao_runtime.data.scan_memory import recall, remember
from tao_runtime.data.snapshot import probe_model
from tao_runtime.data.video_folder import probe_video_folder
from tao_runtime.data.video_jsonl import probe_video_jsonl
from tao_runtime.data.videophy2 import probe_videophy2
from tao_runtime.errors import Finding, Fix, InputError
from tao_runtime.spec.base import DatasetRef, Spec


def _probe_parquet(ref: DatasetRef, progress: Progress | None) -> DatasetFacts:
    from tao_runtime.data.llava_parquet import probe_llava_parquet  # noqa: PLC0415 - 100 ms that most checks do without

    return probe_llava_parquet(ref, progress)


# How data sets are laid out that are not annotation files of conversations.
FORMATS: Final[dict[str, Callable[[DatasetRef, Progress | None], DatasetFacts]]] = {
    "llava-parquet": _probe_parquet,
    "videophy2": probe_videophy2,
    "video-jsonl": probe_video_jsonl,
    "video-folder": probe_video_folder,
}

UNREADABLE = declare(
    "dataset/annotation-unreadable",
    "error",
    "The annotation file exists and is a JSON array, or one record per line.",
    source="seed guide: datasets",
)
NO_RECORDS = declare(
    "dataset/no-records", "error", "A dataset has records.", source="an empty loader gives zero optimizer steps"
)
NO_ROOT = declare(
    "dataset/media-root-missing", "error", "The media root is a directory.", source="seed guide: datasets"
)
NOT_WRITABLE = declare("host/output-dir", "error", "The output directory can be written.", source="every run writes")


def probe(
    spec: Spec,
    *,
    folds: Sequence[FoldFactory] = (),
    world_size: int | None = None,
    progress: Progress | None = None,
    offline: bool = False,
) -> Facts:
    """Look at all that a spec names: machine, models, every record, every media header. Never raises for them."""
    findings = list(_output_dir(spec))
    datasets: dict[str, DatasetFacts] = {}
    for ref in spec.datasets():
        try:
            facts = probe_dataset(ref, folds=folds, progress=progress)
        except InputError as error:
            file = ref.annotation if ref.format in FORMATS else str(locate(ref)[0])
            findings.append(_finding(UNREADABLE.name, ref.annotation_key, file, str(error)))
        else:
            datasets[ref.label] = facts
    evaluated = datasets.get("eval")
    asked = spec.asked()
    findings += probe_asked(asked) if asked is not None else ()
    return Facts(
        host=probe_host(spec.output_dir(), world_size=world_size),
        models={ref.label: probe_model(ref) for ref in spec.models()},
        datasets=datasets,
        findings=tuple(findings),
        same_content=same_content(datasets.values()),
        offline=offline,
        trained_on=_trained_on(spec, evaluated, progress) if evaluated is not None else (),
    )


def _trained_on(spec: Spec, evaluated: DatasetFacts, progress: Progress | None) -> tuple[TrainedOn, ...]:
    from tao_runtime.data.trained_on import probe_trained_on  # noqa: PLC0415 - it probes data sets itself

    return probe_trained_on(spec, evaluated, progress)


def probe_dataset(
    ref: DatasetRef, *, folds: Sequence[FoldFactory] = (), progress: Progress | None = None
) -> DatasetFacts:
    """Look at one dataset. Raises InputError if its annotation file cannot be read at all."""
    for name in (ref.annotation, ref.media):
        if not can_be_path(name):
            raise InputError(f"{name!a}: no path of this system; want one without null bytes or halves of characters")
    if ref.format in FORMATS:
        return _not_empty(ref, FORMATS[ref.format](ref, progress))
    if ref.label == MEDIA_LABEL and not ref.annotation.endswith((".json", ".jsonl")):
        return _probe_folder(ref, progress)
    if not folds and (known := recall(ref, *locate(ref), scans_path())) is not None:
        return known
    seen = part_of(progress, f"{ref.label} records")
    scan = scan_annotations(ref, conversation_key=ref.conversation_key, folds=folds, progress=seen)
    opened = part_of(progress, f"{ref.label} media")
    results = probe_media(scan.files, where=ref.media_key, cache=cache_path(), progress=opened)
    media = tuple(result if isinstance(result, MediaHeader) else None for result in results)
    if not len(scan.columns):
        scan.findings.add(NO_RECORDS, "0 records", "at least one", at=At())
    compare_rates(scan, media)
    whole = () if is_dir(scan.media_root) else (_no_root(ref, scan.media_root),)
    own = with_rates(scan.findings.findings(), scan, media)
    found = (*whole, *own, *name_records(results, scan.files, scan.columns))
    columns = _without(scan.columns, media)
    facts = DatasetFacts(
        ref.label, scan.annotation, scan.media_root, scan.sha256, columns, media, found, cuts=scan.cuts
    )
    if not folds:
        remember(ref, facts, [path for path, _ in scan.files], scans_path())
    return facts


def _not_empty(ref: DatasetRef, facts: DatasetFacts) -> DatasetFacts:
    """Say that there is nothing in a data set, unless its own reader has said why."""
    if facts.num_records or facts.findings:
        return facts
    findings = Collector(where=ref.annotation_key, file=str(facts.annotation))
    findings.add(NO_RECORDS, "0 records", "at least one", at=At())
    return replace(facts, findings=findings.findings())


def scans_path() -> Path:
    """Where scans are remembered: beside the headers."""
    return cache_path().with_name("scans")


def _no_root(ref: DatasetRef, root: Path) -> Finding:
    return Finding(
        rule=NO_ROOT.name,
        severity="error",
        where=ref.media_key or ref.annotation_key,
        file=str(root),
        saw="not a directory",
        want="the directory that media paths are relative to",
    )


def _without(columns: RecordColumns, media: tuple[MediaHeader | None, ...]) -> RecordColumns:
    """Mark records unusable whose media could not be opened."""
    bad = np.array([header is None for header in media], dtype=np.bool_)
    if not bad.any():
        return columns
    owner = np.repeat(np.arange(len(columns)), np.diff(columns.media_start))
    columns.usable[owner[bad[columns.media_index]]] = False
    return columns


def _probe_folder(ref: DatasetRef, progress: Progress | None) -> DatasetFacts:
    """Look at one media file, or at every media file of a folder: a dataset without annotations."""
    path = Path(ref.annotation)
    if not exists(path):
        raise InputError(f"{path}: does not exist; want a media file, a folder of them, or an annotation file")
    names = [path] if is_file(path) else sorted(one for one in path.iterdir() if is_file(one))
    unnamed: MediaKind | None = "video" if is_file(path) else None  # a file that was asked for is tried in any case
    files = [(str(one), kind) for one in names if (kind := _kind(one) or unnamed) is not None]
    findings = Collector(where=ref.annotation_key, file=str(path))
    if not files:
        findings.add(NO_RECORDS, "no media file", "files that end in " + " ".join(sum(SUFFIXES.values(), ())), at=At())
    opened = part_of(progress, f"{ref.label} media")
    results = probe_media(files, where=ref.annotation_key, cache=cache_path(), progress=opened)
    media = tuple(result if isinstance(result, MediaHeader) else None for result in results)
    broken = [result for result in results if isinstance(result, Finding)]
    count, zero = len(files), np.zeros(len(files), np.int32)
    usable = np.array([header is not None for header in media], np.bool_)
    columns = RecordColumns(
        np.zeros(count, np.int64),
        zero,
        zero,
        zero,
        zero,
        np.arange(count + 1, dtype=np.int32),
        np.arange(count, dtype=np.int32),
        usable,
    )
    return DatasetFacts(ref.label, path, path, "", columns, media, (*findings.findings(), *broken[:20]))


def _kind(path: Path) -> MediaKind | None:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES["video"]:
        return "video"
    return "image" if suffix in SUFFIXES["image"] else None


def _output_dir(spec: Spec) -> tuple[Finding, ...]:
    target = spec.output_dir()
    if not target:
        return ()  # the spec layer asks for it
    nearest = existing_parent(Path(target))
    if is_dir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return ()
    saw = "a file" if is_file(nearest) else f"{nearest} cannot be written by this user"
    return (_finding(NOT_WRITABLE.name, "results_dir", target, saw, "a directory that can be made and written"),)


def _finding(rule: str, where: str, file: str, saw: str, want: str = "a file that can be read") -> Finding:
    text, _, wanted = saw.removeprefix(f"{file}:").strip().partition("; want ")
    place = _PLACE.match(text)
    return Finding(
        rule=rule,
        severity="error",
        where=where,
        file=file,
        pointer=place.group(1) if place else None,
        saw=text[place.end() :] if place else text,
        want=wanted or want,
        fix=_advice(text),
    )


_PLACE: Final = re.compile(r"(\d+:\d+): ")  # line and column


def _advice(saw: str) -> Fix | None:
    if "UTF-16" in saw or "UTF-32" in saw:
        return Fix(text=f"convert it: iconv -f {'UTF-16' if 'UTF-16' in saw else 'UTF-32'} -t UTF-8")
    if "UTF" in saw:
        return Fix(text="convert it: iconv -f LATIN1 -t UTF-8, with the encoding that it is in")
    return Fix(text="check the path") if "cannot be read" in saw or "does not exist" in saw else None
