"""Data sets and gaps files for the tests of mining and merging."""

from __future__ import annotations

import json
from pathlib import Path

from factory import make_clip
from tao_runtime.deft.parquet import open_gaps
from tao_runtime.deft.records import AnnotationSet, open_set
from tao_runtime.score.gap import Gap

LEFT, RED = "Does it turn left?", "Is it red?"


def record(key: str, *, question: str = LEFT, gt: str = "yes", video: str = "") -> dict[str, object]:
    turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": gt}]
    return {"id": key, "video": video or f"{key}.mp4", "video_fps": 8, "conversations": turns}


def make_set(folder: Path, *records: dict[str, object], seed: int = 0) -> AnnotationSet:
    """Write a dataset root in which every clip has its own content."""
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(records):
        make_clip(folder / str(each["video"]), num_frames=2, seed=seed + number)
    (folder / "annotations.json").write_text(json.dumps(records))
    return open_set(folder)


def make_gaps(path: Path, *slices: tuple[str, str]) -> Path:
    with open_gaps(path, metadata={}) as writer:
        for question, gt in slices:
            writer.add(Gap(video_id="/v.mp4", question=question, ground_truth=gt, id="1", response=None, parsed=None,
                           error_type="FN", f1=0.0))  # fmt: skip
    return path
