"""Headers are what the files hold, are remembered, and are forgotten when a file changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from factory import make_clip, make_image
from tao_runtime.data import header_pool
from tao_runtime.data.facts import MediaHeader
from tao_runtime.data.media import probe_header, probe_media


def test_header_of_a_clip_and_of_a_picture(tmp_path: Path) -> None:
    clip = probe_header(make_clip(tmp_path / "a.mp4", num_frames=12, fps=6), "video")
    assert isinstance(clip, MediaHeader)
    assert (clip.num_frames, clip.fps, clip.width, clip.height, clip.codec) == (12, 6.0, 64, 64, "h264")
    assert clip.duration_s == 2.0
    picture = probe_header(make_image(tmp_path / "a.png", width=30, height=20), "image")
    assert isinstance(picture, MediaHeader)
    assert (picture.num_frames, picture.width, picture.height, picture.codec) == (1, 30, 20, "png")


def test_frames_of_a_raw_stream_are_counted(tmp_path: Path) -> None:
    header = probe_header(make_clip(tmp_path / "a.h264", num_frames=9), "video")
    assert isinstance(header, MediaHeader)
    assert header.num_frames == 9


def test_remembered_header_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(str(make_clip(tmp_path / "a.mp4")), "video")]
    first = probe_media(files, cache=tmp_path / "c" / "headers.sqlite")
    opened: list[object] = []
    monkeypatch.setattr(header_pool.Child, "ask", lambda *args: opened.append(args))
    assert probe_media(files, cache=tmp_path / "c" / "headers.sqlite") == first
    assert opened == []


def test_changed_file_of_the_same_size_is_opened_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.mp4", tmp_path / "headers.sqlite"
    for num_frames in (8, 16):
        raw = make_clip(path, num_frames=num_frames).read_bytes()
        path.write_bytes(raw + bytes(20_000 - len(raw)))  # zeros behind the last box are no part of the clip
        os.utime(path, ns=(num_frames, num_frames))
        (header,) = probe_media([(str(path), "video")], cache=cache)
        assert isinstance(header, MediaHeader)
        assert (header.num_frames, header.size_bytes) == (num_frames, 20_000)


@pytest.mark.parametrize("broken", ["text", "directory", "no parent"])
def test_unusable_cache_costs_nothing_but_time(tmp_path: Path, broken: str) -> None:
    cache = tmp_path / "cache" / "headers.sqlite"
    if broken == "text":
        cache.parent.mkdir()
        cache.write_text("this is no database" * 100)
    elif broken == "directory":
        cache.mkdir(parents=True)
    else:
        cache.parent.write_text("a file")
    (header,) = probe_media([(str(make_clip(tmp_path / "a.mp4")), "video")], cache=cache)
    assert isinstance(header, MediaHeader)


def test_order_is_kept_and_progress_told(tmp_path: Path) -> None:
    files = [(str(make_clip(tmp_path / f"{n}.mp4", num_frames=n)), "video") for n in (3, 9, 5)]
    told: list[tuple[int, int]] = []
    headers = probe_media(files, progress=lambda done, total: told.append((done, total)))
    assert [header.num_frames for header in headers if isinstance(header, MediaHeader)] == [3, 9, 5]
    assert told == [(1, 3), (2, 3), (3, 3)]


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """Let the children that read headers do something else with files named bad*."""
    code = (
        "import os, sys, time",
        "if any('data.header' in each for each in sys.orig_argv):",
        "    import av",
        "    real = av.open",
        f"    av.open = lambda path, **o: {act} if 'bad' in path else real(path, **o)",
    )
    (folder / "sitecustomize.py").write_text("\n".join(code))
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("act", "rule", "saw"),
    [
        ("time.sleep(60)", "media/header-timeout", "not read after 0.5 s"),
        ("os.abort()", "media/header-crash", "the reader's process ended (signal 6)"),
    ],
)
def test_a_file_that_hangs_or_crashes_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, rule: str, saw: str
) -> None:
    names = ("a.mp4", "bad_1.mp4", "b.mp4", "bad_2.mp4", "c.mp4")
    files = [(str(make_clip(tmp_path / name)), "video") for name in names]
    plant(tmp_path, monkeypatch, act)
    found = probe_media(files, limit_s=0.5)
    assert [isinstance(one, MediaHeader) for one in found] == [True, False, True, False, True]
    assert {(one.rule, one.saw) for one in found if not isinstance(one, MediaHeader)} == {(rule, saw)}


def test_a_pipe_is_not_opened_and_many_files_go_to_all_cores(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    clip = make_clip(tmp_path / "a.mp4")
    files = [(str(clip), "video")] * 200 + [(str(tmp_path / "pipe.mp4"), "video")]
    *good, pipe = probe_media(files)
    assert {one.path for one in good if isinstance(one, MediaHeader)} == {clip}
    assert not isinstance(pipe, MediaHeader) and pipe.saw == "not readable as a video: not a regular file"
