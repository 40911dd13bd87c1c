"""Decoding before the run: each fault is its own rule, one bad file stops nothing, and a second scan opens nothing."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from factory import make_clip, make_image, make_uneven_clip
from tao_runtime.data import decode_probe
from tao_runtime.data.decode import DecodeError, decode_video, frame_times_s
from tao_runtime.data.decode_pool import Job, Verdict, decode_jobs
from tao_runtime.data.decode_probe import DecodeOptions, chosen, decode_all, parse_share
from tao_runtime.errors import InputError


def job(path: Path, indices: tuple[int, ...] = (0, 5, 15), fps: float = 8.0) -> Job:
    return Job(str(path), "video", indices, fps)


def verdicts(*jobs: Job, limit_s: float = 20, workers: int = 1) -> dict[str, Verdict]:
    with closing(decode_jobs(jobs, limit_s=limit_s, workers=workers)) as found:
        return {Path(one.path).name: verdict for one, verdict in found}


def test_every_fault_has_its_name_and_stops_nothing(tmp_path: Path) -> None:
    good, cut = make_clip(tmp_path / "good.mp4"), make_clip(tmp_path / "cut.mp4", num_frames=64, faststart=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    os.mkfifo(tmp_path / "pipe.mp4")  # nobody ever writes to it: opening it waits forever
    short = make_clip(tmp_path / "short.mp4")
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"not a video")
    started = time.monotonic()
    found = verdicts(
        job(tmp_path / "pipe.mp4"), job(garbage), job(cut, (0, 63)), job(short, (0, 16)), job(good),
        limit_s=1,
    )  # fmt: skip
    assert {name: verdict.fault for name, verdict in found.items()} == {
        "pipe.mp4": "decode-timeout",
        "garbage.mp4": "undecodable",
        "cut.mp4": "undecodable",
        "short.mp4": "frames-missing",
        "good.mp4": "",
    }
    assert time.monotonic() - started < decode_probe.LIMIT_S
    assert found["pipe.mp4"].text == "not decoded after 1 s"
    assert found["short.mp4"].text == "frame 16 does not decode; the header promised at least 17"


def test_a_decoder_that_crashes_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The child imports this module before anything else; a file named `crash.mp4` ends it as a fault in C would.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('decode_worker' in arg for arg in sys.orig_argv):\n"
        "    import av\n"
        "    inner = av.open\n"
        "    av.open = lambda path, **o: os.abort() if path.endswith('crash.mp4') else inner(path, **o)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = verdicts(job(make_clip(tmp_path / "crash.mp4")), job(make_clip(tmp_path / "good.mp4")))
    assert found["crash.mp4"] == Verdict("decoder-crash", "the decoder's process ended (signal 6)")
    assert found["good.mp4"].fault == ""


def test_frames_of_a_varying_rate_are_late(tmp_path: Path) -> None:
    even = make_uneven_clip(tmp_path / "even.mp4", range(0, 200, 10))
    uneven = make_uneven_clip(tmp_path / "uneven.mp4", [*range(0, 100, 5), *range(100, 1000, 100)])
    assert frame_times_s(even)[:3] == pytest.approx([0.0, 0.1, 0.2])
    found = verdicts(job(even, (0, 10, 19), 10.0), job(uneven, (0, 19, 28), 29 / 10))
    assert found["even.mp4"].drift_s < 0.01
    assert found["uneven.mp4"].drift_s == pytest.approx(19 / 2.9 - 0.95, abs=0.02)


def test_frames_of_several_sizes_are_no_tensor(tmp_path: Path) -> None:
    first, second = make_clip(tmp_path / "a.h264", size=64), make_clip(tmp_path / "b.h264", size=96)
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DecodeError, match="frames of 64x64 and 96x96 in one video"):
        decode_video(both, (0, 20))


def test_pictures_are_decoded_too(tmp_path: Path) -> None:
    good, cut = make_image(tmp_path / "a.png"), make_image(tmp_path / "b.png", width=500, height=500)
    cut.write_bytes(cut.read_bytes()[:200])
    found = verdicts(*(Job(str(path), "image", (0,), 0.0) for path in (good, cut)))
    assert [found[name].fault for name in ("a.png", "b.png")] == ["", "undecodable"]


def test_a_second_scan_decodes_only_what_changed_or_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [make_clip(tmp_path / f"{number}.mp4") for number in range(3)]
    clips[1].write_bytes(b"bad")
    os.mkfifo(tmp_path / "pipe.mp4")
    jobs = [*map(job, clips), job(tmp_path / "pipe.mp4")]
    options = DecodeOptions(limit_s=1, workers=1, cache=tmp_path / "c" / "decoded.sqlite")
    first = decode_all(jobs, options)
    asked: list[str] = []
    inner = decode_probe.decode_jobs
    monkeypatch.setattr(
        decode_probe,
        "decode_jobs",
        lambda left, **o: asked.extend(Path(one.path).name for one in left) or inner(left, **o),
    )
    assert decode_all(jobs, options) == first
    assert asked == ["pipe.mp4"]
    asked.clear()
    clips[1].write_bytes(make_clip(tmp_path / "new.mp4").read_bytes())
    other = job(clips[0], (0, 1))  # other frames
    assert decode_all([*jobs[:3], other], options)[jobs[1]].fault == ""
    assert sorted(asked) == ["0.mp4", "1.mp4"]


def test_shares_grow_and_are_read(tmp_path: Path) -> None:
    paths = [Path(f"/clips/{number}.mp4") for number in range(2000)]
    small, large = ({path for path in paths if chosen(path, share)} for share in (0.1, 0.5))
    assert small < large
    assert 130 < len(small) < 270 and 900 < len(large) < 1100
    assert [parse_share(text) for text in ("all", "10%", "0.25", "1")] == [1.0, 0.1, 0.25, 1.0]
    for text in ("0", "2", "-1", "most", "nan", "200%"):
        with pytest.raises(InputError, match="want all, or a share"):
            parse_share(text)
