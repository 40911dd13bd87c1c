"""Clips that are there twice, under other names or captions, left out, or reached by a link: none of it in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from factory import make_clip
from structured import make_folder
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.video_folder import read_caption
from tao_runtime.spec.base import DatasetRef


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def said(path: Path, layout: str) -> list[str]:
    facts = probe_dataset(DatasetRef("train", str(path), "", "data.path", "data.path", format=layout))
    return [finding.render() for finding in facts.findings]


def window(caption: str = "a square", **frames: int) -> dict[str, object]:
    return {"start_frame": 0, "end_frame": 15, "caption": caption, **frames}


def record(uuid: str, name: str, *windows: dict[str, object]) -> dict[str, object]:
    return {"uuid": uuid, "vision_path": name, "t2w_windows": windows}


def lines(root: Path, *records: dict[str, object]) -> Path:
    make_clip(root / "a.mp4")
    make_clip(root / "b.mp4", seed=1)
    shutil.copy(root / "a.mp4", root / "copy.mp4")
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    return root / "d.jsonl"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (record("2", "a.mp4", window("a circle")), "[clips/captions-contradict]"),
        (record("2", "a.mp4", window("a circle", end_frame=16)), "the same frames as record 0, with another caption"),
        (record("2", "copy.mp4", window("a circle")), "the same bytes as record 0, with another caption"),
        (record("2", "a.mp4", window()), "clips/repeated"),
        (record("1", "b.mp4", window()), "the same uuid as record 0"),
        (record("2", "b.mp4", window(end_frame=99)), "end_frame 99, and the clip has 16 frames; want at most 15"),
        (record("2", "b.mp4", window(end_frame=99)), "clips/window-end"),
    ],
)
def test_a_second_line_that_is_not_one_of_its_own(tmp_path: Path, second: dict[str, object], words: str) -> None:
    found = said(lines(tmp_path, record("1", "a.mp4", window()), second), "video-jsonl")
    assert len(found) == 1 and words in found[0] and found[0].startswith("warning")


def test_other_frames_of_a_clip_are_no_repeat(tmp_path: Path) -> None:
    first = record("1", "a.mp4", window(), window("it turns", start_frame=8))
    assert said(lines(tmp_path, first, record("2", "b.mp4", window("a circle"))), "video-jsonl") == []


def test_a_record_whose_path_is_refused_is_named_once(tmp_path: Path) -> None:
    (found,) = said(lines(tmp_path, record("1", "../a.mp4", window())), "video-jsonl")
    assert "clips/path" in found
    assert (
        "relative to the folder of this file"
        in said(lines(tmp_path, record("1", str(tmp_path / "a.mp4"), window())), "video-jsonl")[0]
    )


def link_out(root: Path) -> None:
    make_clip(root.parent / "else.mp4", num_frames=24, seed=9)
    (root / "videos" / "0.mp4").unlink()
    (root / "videos" / "0.mp4").symlink_to(root.parent / "else.mp4")


def secret(root: Path) -> None:
    (root.parent / "secret.txt").write_text("a key")
    (root / "metas" / "0.txt").unlink()
    (root / "metas" / "0.txt").symlink_to(root.parent / "secret.txt")


def nested(root: Path) -> None:
    (root / "videos" / "more").mkdir()
    (root / "videos" / "0.mp4").rename(root / "videos" / "more" / "0.mp4")


FOLDERS: list[tuple[Callable[[Path], object], str]] = [
    (lambda root: shutil.copy(root / "videos" / "0.mp4", root / "videos" / "1.mp4"), "clips/captions-contradict"),
    (lambda root: (root / "videos" / "0.mp4").rename(root / "videos" / "0.MP4"), "clips/left-out"),
    (lambda root: (root / "videos" / "0.mp4").rename(root / "videos" / "0.mov"), "are not videos/*.mp4: videos/0.mov"),
    (nested, "1 videos that are not videos/*.mp4: videos/more/0.mp4"),
    (lambda root: (root / "metas" / "9.txt").write_text("x"), "1 captions without a clip: metas/9.txt"),
    (link_out, "0.mp4 is a link that leads out of"),
    (secret, "0.txt is a link that leads out of"),
    (lambda root: (root / "videos" / "9.mp4").symlink_to("9.mp4"), "Too many levels of symbolic links"),
    (lambda root: (root / "videos" / "9.mp4").symlink_to("gone.mp4"), "No such file"),
    (lambda root: (root / "metas" / "0.txt").write_bytes(b"\xef\xbb\xbf\n"), "an empty file"),
    (lambda root: (root / "metas" / "0.txt").write_bytes(b"caf\xe9"), "not UTF-8"),
]


@pytest.mark.parametrize(("breaker", "words"), FOLDERS)
def test_what_is_wrong_with_a_folder_has_its_words(
    tmp_path: Path, breaker: Callable[[Path], object], words: str
) -> None:
    root = make_folder(tmp_path / "set", clips=2)
    assert said(root, "video-folder") == []
    breaker(root)
    assert any(words in line for line in said(root, "video-folder")), said(root, "video-folder")


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", clips=1)
    (root / "metas" / "0.txt").write_bytes(b"\xef\xbb\xbfa square")
    assert read_caption(root, "0") == "a square"


def test_a_folder_that_is_a_link_itself_is_no_way_out(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "far", clips=2)
    (tmp_path / "set").mkdir()
    for name in ("videos", "metas"):
        (tmp_path / "set" / name).symlink_to(root / name)
    assert said(tmp_path / "set", "video-folder") == []
