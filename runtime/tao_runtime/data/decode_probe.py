"""Decode a share of the media before a run, frame for frame as training will, and say which files will not do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from tao_runtime.data.decode_memory import decode_cache_path, remembered
from tao_runtime.data.decode_pool import Job, Verdict, decode_jobs
from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.fold import At, Collector, RuleInfo, declare
from tao_runtime.errors import InputError
from tao_runtime.spec.base import Spec

LIMIT_S: Final = 60.0  # for one file, where the spec does not say how long a sample may take
DRIFT_S: Final = 0.1  # the model reads times to a tenth of a second
MAX_WORKERS: Final = 16
BATCH: Final = 256  # verdicts written to the cache at a time: an interrupted scan is not lost
# (files decoded, files in all)
DecodeProgress = Callable[[int, int], None]
_HOURS = "one bad file ends or hangs a run hours in"

UNDECODABLE = declare(
    "media/undecodable", "error", "The sampled frames decode (with --decode), all of one size.", source=_HOURS
)
FRAMES_MISSING = declare(
    "media/frames-missing", "error", "A video has the frames its header promises (with --decode).", source=_HOURS
)
TIMEOUT = declare(
    "media/decode-timeout",
    "error",
    "A file is decoded within train.load_timeout_s, or a minute (with --decode).",
    source=_HOURS,
)
CRASH = declare("media/decoder-crash", "error", "No file ends the decoder's process (with --decode).", source=_HOURS)
VARIABLE = declare(
    "media/variable-frame-rate",
    "warning",
    "Frames are shown when the average rate says, within a frame and a tenth of a second (with --decode).",
    source="frames are taken, and their times told to the model, by index / rate: a varying rate makes that wrong",
)
FAULTS: Final[dict[str, tuple[RuleInfo, str]]] = {
    rule.name.removeprefix("media/"): (rule, want)
    for rule, want in (
        (UNDECODABLE, "a file that decodes"),
        (FRAMES_MISSING, "all the frames that the header promises"),
        (TIMEOUT, "a file that decodes in time"),
        (CRASH, "a file that the decoder survives"),
    )
}


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How much is decoded, and how."""

    share: float = 1.0
    limit_s: float = LIMIT_S
    workers: int = min(MAX_WORKERS, os.cpu_count() or 1)
    cache: Path | None = None
    progress: DecodeProgress | None = None


def parse_share(text: str) -> float:
    """Return the share of files to decode: all, 10% or 0.1. Raises InputError for anything else."""
    try:
        share = 1.0 if text == "all" else float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise InputError(f"--decode {text}: want all, or a share above 0 and up to 1, such as 0.1 or 10%")
    return share


def chosen(path: Path, share: float) -> bool:
    """Tell whether a file belongs to a share. Decided by its name: a larger share holds every smaller one."""
    number = int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "big")
    return number < share * 2**64


def decode_probe(
    spec: Spec, facts: Facts, frames: Mapping[tuple[str, int], tuple[int, ...]], options: DecodeOptions
) -> Facts:
    """Return the facts with what decoding found. `frames`: what to decode, by data set and medium."""
    where = {ref.label: ref.media_key or ref.annotation_key for ref in spec.datasets()}
    plans = [
        (facts.datasets[label], medium, Job(str(header.path), header.kind, indices, header.fps))
        for (label, medium), indices in frames.items()
        if (header := facts.datasets[label].media[medium]) is not None and chosen(header.path, options.share)
    ]
    jobs = list(dict.fromkeys(job for *_, job in plans))
    verdicts = decode_all(jobs, options)
    collectors = {
        label: Collector(where=where[label], file=str(data.annotation)) for label, data in facts.datasets.items()
    }
    for data, index, job in plans:
        _judge(collectors[data.label], data, index, job, verdicts[job])
    found = tuple(finding for each in collectors.values() for finding in each.findings())
    return replace(facts, findings=(*facts.findings, *found), num_decoded=len(jobs))


def decode_all(jobs: list[Job], options: DecodeOptions) -> dict[Job, Verdict]:
    """Return the verdict of every job, from the cache or by decoding."""
    with remembered(options.cache) as memory:
        known = {job: verdict for job in jobs if (verdict := memory.get(job)) is not None}
        left = [job for job in jobs if job not in known]
        if not left:
            return known
        fresh: list[tuple[Job, Verdict]] = []
        with closing(decode_jobs(left, limit_s=options.limit_s, workers=options.workers)) as verdicts:
            for number, pair in enumerate(verdicts, 1):
                fresh.append(pair)
                if options.progress is not None:
                    options.progress(len(known) + number, len(jobs))
                if not number % BATCH or number == len(left):
                    memory.put(fresh)
                    known.update(fresh)
                    fresh = []
    return known


def _judge(findings: Collector, data: DatasetFacts, index: int, job: Job, verdict: Verdict) -> None:
    at = At(_first_record(data, index), file=job.path)
    if verdict.fault:
        rule, want = FAULTS[verdict.fault]
        findings.add(rule, verdict.text, want, at=at, fix="replace the file, or drop the records that name it")
    elif job.kind == "video" and verdict.drift_s > max(DRIFT_S, 1 / job.fps):
        saw = f"a frame is shown {verdict.drift_s:.2f} s from where {job.fps:g} frames per second put it"
        findings.add(VARIABLE, saw, "a constant frame rate", at=at, fix="encode it anew at a constant rate")


def _first_record(data: DatasetFacts, medium: int) -> int | None:
    places = np.flatnonzero(data.columns.media_index == medium)
    return int(np.searchsorted(data.columns.media_start, places[0], side="right") - 1) if len(places) else None


def default_options(share: float, *, limit_s: float | None, progress: DecodeProgress | None) -> DecodeOptions:
    """Return the options of a command: every core, the user's cache."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return DecodeOptions(share, limit_s or LIMIT_S, min(MAX_WORKERS, count), decode_cache_path(), progress)
