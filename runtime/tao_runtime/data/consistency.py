"""Rules about records beside each other: short answers that contradict, and paths that hold on one machine only."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from typing import Final

import numpy as np

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.llava import MEDIA_KEYS, ROLES

SHORT: Final = 32  # characters: a longer answer is a description, of which several may be right
_TAG = re.compile(r"\s*<(?:video|image)>\s*")

CONTRADICTION = declare(
    "dataset/answers-contradict",
    "warning",
    "Records with the same question about the same media have the same answer, where answers are short.",
    source="two labels for one sample: one of them is wrong, and no model can learn both",
)
ABSOLUTE = declare(
    "dataset/media-absolute",
    "note",
    "Media paths are relative to the media root: absolute ones hold on this machine only.",
    source="annotation files are copied to where the GPUs are",
)


class AgreementFold:
    """Compares the first short answer of records that ask the same: three machine words a record, and no text."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked, self.answered, self.records = array("q"), array("q"), array("q")

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        turns = record.get(self.key)
        if findings.failed or type(turns) is not list:
            return
        texts = {"human": "", "gpt": "", "system": ""}
        for turn in turns:
            role = ROLES[turn["from"]]  # the turns passed their rules
            if role == "gpt":
                texts["gpt"] = turn["value"]
                break
            texts[role] += turn["value"]
        answer = " ".join(texts["gpt"].split()).casefold().rstrip(".")
        if not answer or len(answer) > SHORT:
            return
        media = next((str(record[key]) for key in MEDIA_KEYS if record.get(key)), "")
        place = tuple(str(record[key]) for key in ("start", "end", "start_time", "end_time") if key in record)
        question = " ".join(_TAG.sub(" ", texts["system"] + "\0" + texts["human"]).split())
        self.asked.append(hash((question, media, place)))
        self.answered.append(hash(answer))
        self.records.append(index)

    def finish(self, findings: Collector) -> None:
        if not len(self.records):
            return
        asked, answered = np.frombuffer(self.asked, np.int64), np.frombuffer(self.answered, np.int64)
        order = np.argsort(asked, kind="stable")
        starts = np.flatnonzero(np.r_[True, asked[order][1:] != asked[order][:-1]])
        ends = np.r_[starts[1:], len(order)]
        found: list[tuple[int, int]] = []
        for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
            group = order[start:end]
            found += [(int(one), int(group[0])) for one in group[1:] if answered[one] != answered[group[0]]]
        for one, first in sorted(found):
            saw = f"another answer than record {self.records[first]} to the same question about the same media"
            fix = "keep the one that is right"
            findings.add(CONTRADICTION, saw, "one answer", at=At(self.records[one], f"/{self.key}"), fix=fix)


class AbsoluteFold:
    """Counts records that name media by absolute paths; one finding for all of them."""

    def __init__(self) -> None:
        self.count, self.first, self.example = 0, 0, ""

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        for key in MEDIA_KEYS if not findings.failed else ():
            value = record.get(key)
            name = value[0] if type(value) is list and value else value
            if type(name) is str and name.startswith("/"):
                if not self.count:
                    self.first, self.example = index, name
                self.count += 1
                return

    def finish(self, findings: Collector) -> None:
        if self.count:
            saw = f"{self.count:,} records name media by absolute paths, such as {quote(self.example)}"
            fix = "make them relative, and name their folder as the media path of the spec"
            findings.add(ABSOLUTE, saw, "paths relative to the media root", at=At(self.first), fix=fix)
