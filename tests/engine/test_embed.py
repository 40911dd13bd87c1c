"""Captions are embedded once, by one encoder, whatever happens in between; a check sees what is true no more."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from factory import make_clip
from fake_hub import FakeHub, Repo, serve
from tao_runtime.cli.app import app
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.snapshot import probe_model
from tao_runtime.data.t5 import WIDTH, read_embedding
from tao_runtime.engine.demo.tiny_text import tiny_t5
from tao_runtime.engine.embed import Request, embed_captions, fetch_encoder
from tao_runtime.errors import InputError, RunError
from tao_runtime.ingest.embeddings import EmbeddingReport
from tao_runtime.spec.base import DatasetRef, ModelRef

VALUES = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float16)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def save_encoder(folder: Path, seed: int, width: int = WIDTH) -> Path:
    tokenizer, encoder = tiny_t5(width=width, seed=seed)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("t5")
    return save_encoder(root / "one", 7), save_encoder(root / "two", 8)


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "clips"
    (root / "metas").mkdir(parents=True)
    for name, text in {"a": "a red square moves left", "b": "a blue square moves up", "c": "still"}.items():
        make_clip(root / "videos" / f"{name}.mp4", seed=ord(name))
        (root / "metas" / f"{name}.txt").write_text(text + "\n")
    return root


def counts(report: EmbeddingReport) -> tuple[int, int, int]:
    return report.embedded, report.converted, report.kept


def run(root: Path, model: Path, **options: object) -> EmbeddingReport:
    return embed_captions(Request(root, str(model), **options), show=False)  # type: ignore[arg-type]


def found(root: Path) -> list[str]:
    facts = probe_dataset(DatasetRef("train", str(root), "", "d", "d", format="video-folder"))
    return [finding.rule for finding in facts.findings]


def test_what_is_written_is_what_the_encoder_says_and_the_loader_finds(
    clips: Path, encoders: tuple[Path, Path]
) -> None:
    assert counts(run(clips, encoders[0])) == (3, 0, 0)
    from tao_runtime.engine.embed import load_encoder

    [alone] = load_encoder(encoders[0], "").states(["a red square moves left"])
    got = read_embedding(clips / "t5_xxl" / "a.safetensors")
    assert np.allclose(got.values, alone.numpy(), atol=2e-3) and got.values.dtype == np.float16
    digest = probe_model(ModelRef("t", str(encoders[0]), "k")).weights_sha256
    assert got.encoder is not None and got.encoder.sha256 == digest is not None
    facts = probe_dataset(DatasetRef("train", str(clips), "", "d", "d", format="video-folder"))
    assert facts.findings == () and facts.windows is not None and facts.windows.embedded.all()
    assert [encoder.sha256 for encoder in facts.windows.encoders] == [digest]


def test_only_what_is_not_true_any_more_is_embedded_again(clips: Path, encoders: tuple[Path, Path]) -> None:
    run(clips, encoders[0])
    assert counts(run(clips, encoders[0])) == (0, 0, 3)
    (clips / "metas" / "a.txt").write_text("a green square")
    assert found(clips) == ["clips/embedding-stale"]
    (clips / "t5_xxl" / "b.safetensors").unlink()
    (clips / "t5_xxl" / "c.safetensors").write_bytes(b"cut off")
    assert counts(run(clips, encoders[0])) == (3, 0, 0) and found(clips) == []
    assert counts(run(clips, encoders[1])) == (3, 0, 0), "another encoder"


def test_the_same_weights_elsewhere_are_the_same_encoder(
    clips: Path, encoders: tuple[Path, Path], tmp_path: Path
) -> None:
    run(clips, encoders[0])
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "text_encoder").symlink_to(encoders[0])
    assert counts(run(clips, tmp_path / "pipeline")) == (0, 0, 3)


def test_embeddings_of_two_encoders_do_not_mix(clips: Path, encoders: tuple[Path, Path]) -> None:
    run(clips, encoders[0])
    (clips / "t5_xxl" / "b.safetensors").unlink()
    other = clips.parent / "other"
    (other / "metas").mkdir(parents=True)
    make_clip(other / "videos" / "b.mp4")
    (other / "metas" / "b.txt").write_text("a blue square moves up")
    run(other, encoders[1])
    (other / "t5_xxl" / "b.safetensors").rename(clips / "t5_xxl" / "b.safetensors")
    assert found(clips) == ["clips/embedding-mixed"]


def test_one_prompt_for_all_becomes_their_caption_and_contradicts_none(
    clips: Path, encoders: tuple[Path, Path]
) -> None:
    for name in ("a", "b"):
        (clips / "metas" / f"{name}.txt").unlink()
    report = run(clips, encoders[0], prompt="a red square")
    assert [finding.rule for finding in report.findings] == ["prepare/caption-differs"] and not report.ok
    (clips / "metas" / "c.txt").unlink()
    assert counts(run(clips, encoders[0], prompt="a red square")) == (1, 0, 2)
    assert (clips / "metas" / "c.txt").read_text() == "a red square\n" and found(clips) == []


def test_a_clip_without_a_caption_is_named(clips: Path, encoders: tuple[Path, Path]) -> None:
    (clips / "metas" / "a.txt").write_text(" ")
    report = run(clips, encoders[0])
    assert [finding.rule for finding in report.findings] == ["prepare/caption-missing"] and counts(report) == (2, 0, 0)


def test_files_of_other_trainers_are_converted_and_run_nothing(
    clips: Path, encoders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    (clips / "t5_xxl").mkdir()
    (clips / "t5_xxl" / "a.pickle").write_bytes(pickle.dumps([VALUES]))
    torch.save({"embedding": torch.from_numpy(VALUES.copy())}, clips / "t5_xxl" / "b.pt")
    (clips / "t5_xxl" / "c.pickle").write_bytes(pickle.dumps(Evil()))
    report = run(clips, encoders[0])
    assert counts(report) == (1, 2, 0) and [one.rule for one in report.findings] == ["prepare/embedding-unreadable"]
    for name in ("a", "b"):
        got = read_embedding(clips / "t5_xxl" / f"{name}.safetensors")
        assert np.array_equal(got.values, VALUES) and got.encoder is None
    assert not (clips / "ran").exists() and found(clips) == []
    assert counts(run(clips, encoders[0])) == (0, 0, 3)
    assert counts(run(clips, encoders[0], again=True)) == (2, 0, 1)


def test_a_torch_file_that_would_run_something_is_refused(
    clips: Path, encoders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips)
    (clips / "t5_xxl").mkdir()
    torch.save(Evil(), clips / "t5_xxl" / "a.pt")
    report = run(clips, encoders[0])
    assert counts(report) == (3, 0, 0) and not (clips / "ran").exists()
    assert [finding.severity for finding in report.findings] == ["warning"]


def test_a_pickle_older_than_its_caption_is_not_trusted(clips: Path, encoders: tuple[Path, Path]) -> None:
    (clips / "t5_xxl").mkdir()
    (clips / "t5_xxl" / "a.pickle").write_bytes(pickle.dumps([VALUES]))
    os.utime(clips / "t5_xxl" / "a.pickle", (1, 1))
    assert counts(run(clips, encoders[0])) == (3, 0, 0)


def test_what_only_needs_converting_needs_no_encoder(clips: Path) -> None:
    (clips / "t5_xxl").mkdir()
    for name in "abc":
        (clips / "t5_xxl" / f"{name}.pickle").write_bytes(pickle.dumps([VALUES]))
    assert counts(run(clips, Path("org/not-here"))) == (0, 3, 0)


def test_captions_of_windows_are_embedded_where_the_loader_looks(clips: Path, encoders: tuple[Path, Path]) -> None:
    windows = [{"start_frame": 0, "end_frame": 7, "caption": text} for text in ("a red square", "still")]
    (clips / "d.jsonl").write_text(json.dumps({"vision_path": "videos/a.mp4", "t2w_windows": windows}))
    ref = DatasetRef("train", str(clips / "d.jsonl"), "", "d", "d", format="video-jsonl")
    assert counts(run(clips / "d.jsonl", encoders[0])) == (2, 0, 0)
    facts = probe_dataset(ref)
    assert facts.findings == () and facts.windows is not None and facts.windows.embedded.all()
    (clips / "d.jsonl").write_text((clips / "d.jsonl").read_text().replace("still", "a yellow square"))
    assert [finding.rule for finding in probe_dataset(ref).findings] == ["clips/embedding-stale"]
    with pytest.raises(InputError, match="brings its captions"):
        run(clips / "d.jsonl", encoders[0], prompt="x")


def test_an_encoder_of_another_width_is_refused(clips: Path, tmp_path: Path) -> None:
    narrow = save_encoder(tmp_path / "narrow", 7, width=32)
    with pytest.raises(InputError, match=r"shape \[\d+, 32\]; want \[1 to 512, 1024\]"):
        run(clips, narrow)
    with pytest.raises(InputError, match="is not a directory"):
        run(clips, tmp_path / "nothing")


def test_long_captions_are_cut_and_counted(clips: Path, encoders: tuple[Path, Path]) -> None:
    (clips / "metas" / "a.txt").write_text("red " * 600)
    report = run(clips, encoders[0])
    assert report.cut == 1 and len(read_embedding(clips / "t5_xxl" / "a.safetensors").values) == 512


def test_the_command_says_what_it_did(clips: Path, encoders: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["prepare", "t5", str(clips), "--model", str(encoders[0]), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["embedded"] == 3
    assert "3 kept" in CliRunner().invoke(app, ["prepare", "t5", str(clips), "--model", str(encoders[0])]).output


def test_advice_is_of_what_the_hub_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network is not a licence; a licence is one, with its page."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody answers
    with pytest.raises(RunError) as silent:
        fetch_encoder("org/t5")
    assert "licence" not in str(silent.value) and "check network" in str(silent.value)
    with serve(FakeHub({"org/t5": Repo({"config.json": b"{}"}, gated=True)})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        with pytest.raises(RunError, match=r"accept its licence at .*org/t5"):
            fetch_encoder("org/t5")
