"""What a model's files tell: size, geometry, what is missing; and no secret."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from factory import make_snapshot
from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.snapshot import probe_model
from tao_runtime.spec.base import ModelRef


def probe(path: object) -> object:
    return probe_model(ModelRef("model", str(path), "policy.model_name_or_path"))


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def test_whole_snapshot(tmp_path: Path) -> None:
    facts = probe(make_snapshot(tmp_path / "model", parameters=100))
    assert (facts.num_parameters, facts.weight_bytes, facts.missing, facts.has_token) == (100, 400, (), False)
    assert facts.geometry == VisionGeometry()


def test_geometry_is_the_processors_own(tmp_path: Path) -> None:
    root = make_snapshot(tmp_path)
    video = {"size": {"shortest_edge": 4096, "longest_edge": 9999}, "patch_size": 14, "image_mean": [0, 0.5, 1]}
    (root / "video_preprocessor_config.json").write_text(json.dumps(video))
    geometry = probe(root).geometry
    assert (geometry.patch_size, geometry.video_min_pixels, geometry.video_max_pixels) == (14, 4096, 9999)
    assert geometry.mean == (0.0, 0.5, 1.0)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    root = make_snapshot(tmp_path)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = probe(root)
    assert facts.missing == ("model-2.safetensors",)
    assert facts.num_parameters is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"1234567", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b'{"a": 1}x'],
)
def test_what_is_no_safetensors_file_is_said_to_be_none(tmp_path: Path, raw: bytes) -> None:
    root = make_snapshot(tmp_path)
    (root / "model.safetensors").write_bytes(raw)
    assert probe(root).missing[0].startswith("model.safetensors (")


def test_broken_config_is_named(tmp_path: Path) -> None:
    root = make_snapshot(tmp_path)
    (root / "config.json").write_text("{")
    (root / "tokenizer.json").unlink()
    assert probe(root).missing == ("config.json (not valid JSON)", "tokenizer.json")


def test_token_is_present_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not probe("org/name").has_token
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("x")
    assert probe("org/name").has_token
    monkeypatch.setenv("HF_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    assert probe("org/name").has_token
    assert "verysecret" not in repr(probe("org/name"))


def test_a_complete_run_stands_for_the_model_it_exported(tmp_path: Path) -> None:
    make_snapshot(tmp_path / "run/export/model")
    assert probe_model(ModelRef("model", str(tmp_path / "run"), "model")).directory == tmp_path / "run"
    (tmp_path / "run/run.json").write_text("{}")
    found = probe_model(ModelRef("model", str(tmp_path / "run"), "model"))
    assert (found.directory, found.missing) == (tmp_path / "run/export/model", ())
