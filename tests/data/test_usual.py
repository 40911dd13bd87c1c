"""The short cut gives what the folds give: the same columns, media and findings, whatever the file holds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from factory import make_dataset, make_image, make_record, write_annotations
from tao_runtime.data.annotations import Scan, scan_annotations
from tao_runtime.data.usual import Usual
from tao_runtime.spec.base import DatasetRef

SYSTEM, HUMAN, GPT = ({"from": name, "value": text} for name, text in
                      (("system", "Be short."), ("user", "<video>\nWhich way?"), ("assistant", "left")))  # fmt: skip
IMAGE = {"from": "human", "value": "<image>?"}


def scan(root: Path, short_cut: bool) -> Scan:
    return scan_annotations(DatasetRef("train", str(root), "", "a", "m"), short_cut=short_cut)


def same(root: Path) -> Scan:
    """Scan both ways, compare everything, and return one."""
    fast, slow = scan(root, True), scan(root, False)
    for name in fast.columns.__dataclass_fields__:
        assert np.array_equal(getattr(fast.columns, name), getattr(slow.columns, name)), name
    assert np.array_equal(fast.fps, slow.fps, equal_nan=True)
    assert (fast.files, fast.cuts, fast.sha256) == (slow.files, slow.cuts, slow.sha256)
    assert fast.findings.findings() == slow.findings.findings()
    return fast


def variants() -> list[dict[str, object]]:
    """Records of every usual shape, and records one step away from them."""
    two = [
        SYSTEM,
        HUMAN,
        GPT,
        {"from": "human", "value": "é?"},
        {"from": "gpt", "value": "nach rechts, über das Feld, ß"},
    ]
    images = {"video": None, "video_fps": None}
    return [
        make_record(0), make_record(1, conversations=two), make_record(2, answer="Right."), make_record(3, id=None),
        make_record(4, image="a.png", conversations=[IMAGE, GPT], **images), make_record(5, video_fps=8),
        make_record(6, conversations=[{**HUMAN, "value": "2 + 2?"}, GPT], **images), make_record(7, answer="<think>"),
        make_record(8, conversations=[HUMAN, GPT, GPT]), make_record(9, conversations=[HUMAN]),
        make_record(10, conversations=[HUMAN, GPT, SYSTEM, GPT]), make_record(11, conversations=[GPT, HUMAN]),
        make_record(12, answer="<video>"), make_record(13, answer=" "), make_record(14, answer="a<|im_end|>"),
        make_record(70, answer="\u200b"), make_record(71, answer="<think>\nIt moves.</think> "),
        make_record(72, answer="<think>It moves.</think>left"), make_record(73, answer=" \u200bé"),
        make_record(15, video_fps=True), make_record(16, video_fps=-1), make_record(17, video=["clip_0.mp4"]),
        make_record(18, source_video="abc"), make_record(19, start=1, end=2), make_record(20, "gone.mp4"),
        make_record(21, image="a.png"), make_record(22, answer="\ud800"), make_record(23, conversations={}),
        make_record(24, videos=["clip_0.mp4"], video=None), make_record(26, fps=3), make_record(27, "b.png"),
        make_record(80, vidoe="clip_0.mp4", conversations=[{**HUMAN, "value": "2 + 3?"}, GPT], **images),
        make_record(81, video_id=3, image2="b", video_fp=8), make_record(82, conversation=[]),
        make_record(25, conversations=[HUMAN, {"from": [], "value": 1}]),
    ]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_image(tmp_path / "a.png")
    return make_dataset(tmp_path, 2)


def test_every_shape_gives_the_same(root: Path) -> None:
    records = variants()
    records += [{**record, "video": str(root / "clip_1.mp4")} for record in records if record.get("video")]
    random.Random(0).shuffle(records)
    write_annotations(root, records * 3)
    assert same(root).findings.findings()


@pytest.mark.parametrize("seed", range(20))
def test_mutated_records_give_the_same(root: Path, seed: int) -> None:
    from mutations import mutate

    rng = random.Random(seed)
    records: list[object] = [rng.choice(variants()) for _ in range(100)]
    records += [mutate(rng.choice(records), rng) for _ in range(200)]
    write_annotations(root, records)
    text = json.dumps(records).replace("Infinity", "1e999").replace("NaN", "0")
    (root / "annotations.json").write_text(text)
    same(root)


def test_it_takes_the_usual_ones(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    take = Usual.take
    monkeypatch.setattr(Usual, "take", lambda self, *args: taken.append(take(self, *args)) or taken[-1])
    write_annotations(root, variants()[:8] * 2)
    scan(root, True)
    assert taken[8:] == [True] * 8
