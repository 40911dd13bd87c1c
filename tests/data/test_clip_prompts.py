"""A request for video is looked at before a network is loaded: every prompt, every picture and clip it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory import make_clip
from structured import StructuredProject


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def said(root: Path, family: str, lines: list[object] | str | None = None, **keys: object) -> list[str]:
    project = StructuredProject(root / "project", family)
    project.action = "inference"
    if lines is not None:
        text = lines if isinstance(lines, str) else "\n".join(map(json.dumps, lines))
        (root / "prompts.jsonl").write_text(text)
        project.set(inference__prompt="", inference__prompts_path=str(root / "prompts.jsonl"))
    project.set(**{f"inference__{key}": value for key, value in keys.items()})
    return [finding.render() for finding in project.report().findings]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"name": "b"}, "prompt: null; want an object with the text of a prompt"),
        ([1], "[1]; want an object"),
        ({"prompt": "x", "name": "../b"}, "name: '../b'; want a file name"),
        ({"prompt": "x", "name": "a"}, "name: 'a', as of record 0; want a name of its own"),
        ({"prompt": "x", "seed": -1}, "seed: -1; want a whole number from 0"),
        ({"prompt": "x", "input_path": "gone.png"}, "gone.png record"),
    ],
)
def test_a_line_that_asks_for_nothing(tmp_path: Path, line: object, words: str) -> None:
    words = words.replace("gone.png record", "gone.png): it is not there; want a picture or a clip")
    good = {"prompt": "a square", "name": "a"}
    assert said(tmp_path / "good", "cosmos3_vision", [good, {"prompt": "x"}]) == []
    found = said(tmp_path, "cosmos3_vision", [good, line])
    assert len(found) == 1 and words in found[0], found


def test_prompts_that_cannot_be_read_and_the_input_that_a_model_must_have(tmp_path: Path) -> None:
    assert "clips/prompt" in said(tmp_path / "a", "cosmos_predict1", "{")[0]
    assert "No such file" in said(tmp_path / "b", "cosmos_predict1", prompt="", prompts_path="gone.jsonl")[0]
    (found,) = said(tmp_path / "c", "cosmos_predict2", [{"prompt": "x"}], input_path="")
    assert "record 0): no input_path; want the picture or clip that the video goes on from" in found


@pytest.mark.parametrize("family", ["cosmos3_vision", "cosmos_predict2"])
def test_what_video_goes_on_from_is_there_and_opens(tmp_path: Path, family: str) -> None:
    assert said(tmp_path / "good", family, input_path=str(make_clip(tmp_path / "in" / "a.mp4"))) == []
    assert said(tmp_path / "folder", family, input_path=str(tmp_path / "in")) == []
    (found,) = said(tmp_path / "gone", family, input_path=str(tmp_path / "gone.mp4"))
    assert "clips/given" in found and "inference.input_path" in found
    (tmp_path / "in" / "a.mp4").write_bytes(b"no video")
    assert "not readable as a video" in said(tmp_path / "broken", family, input_path=str(tmp_path / "in" / "a.mp4"))[0]
    (tmp_path / "empty").mkdir()
    assert "without pictures or clips" in said(tmp_path / "none", family, input_path=str(tmp_path / "empty"))[0]


def test_a_codec_without_a_decoder_is_said_to_be_one(tmp_path: Path) -> None:
    project = StructuredProject(tmp_path / "project", "cosmos_predict2")
    clip = project.data / "videos" / "0.mp4"
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    assert "there is no decoder for its codec on this machine" in project.report().findings[0].render()
