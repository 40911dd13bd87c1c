"""`audit --probe`: faults that only loading shows are named, what the libraries wrote passes without a finding."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from probe_faults import PROBE_FAULTS, Loadable, a_network, save, tuned

from tao_runtime.audit import AuditReport, audit
from tao_runtime.engine.trial.run import probe_report

pytestmark = pytest.mark.filterwarnings("ignore")


def probed(made: Loadable, **options: Any) -> AuditReport:
    return probe_report(audit(made.path, base=made.base, **options), made.path, base=made.base)


def healthy(path: Path, base: Path | None = None, **options: Any) -> AuditReport:
    report = probed(Loadable(path, base), **options)
    assert report.findings == () and report.probes, report.render()
    assert all(probe.loaded for probe in report.probes)
    return report


@pytest.mark.parametrize("code", PROBE_FAULTS)
def test_a_planted_fault_is_named(code: str, tmp_path: Path) -> None:
    plant, with_it = PROBE_FAULTS[code]
    report = probed(plant(tmp_path))
    assert {finding.rule for finding in report.findings} == {code, *with_it}, report.render()
    assert report.ok == all(finding.severity != "error" for finding in report.findings)


def test_an_adapter_with_its_merged_model_passes(tmp_path: Path) -> None:
    made = tuned(tmp_path)
    report = healthy(made.path, made.base)
    assert {probe.path: probe.input for probe in report.probes} == dict.fromkeys(("adapter", "model"), "12 tokens")
    assert all(probe.difference for probe in report.probes)


def test_half_precision_passes(tmp_path: Path) -> None:
    base = save(a_network().to(torch.bfloat16), tmp_path / "base")
    healthy(save(a_network(1).to(torch.bfloat16), tmp_path / "export"), base)


def architectures() -> dict[str, Any]:
    import transformers as t

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 2, "vocab_size": 64}
    return {
        "tied": t.LlamaForCausalLM(t.LlamaConfig(**small, vocab_size=64, tie_word_embeddings=True)),
        "t5": t.T5ForConditionalGeneration(t.T5Config(**t5, decoder_start_token_id=0)),
        "encoder": t.T5EncoderModel(t.T5Config(**t5)),
        "vision": t.SiglipVisionModel(t.SiglipVisionConfig(**small, image_size=32, patch_size=16)),
    }


@pytest.mark.parametrize("name", ["tied", "t5", "encoder", "vision"])
def test_architectures_of_transformers_pass(name: str, tmp_path: Path) -> None:
    report = healthy(save(architectures()[name], tmp_path))
    assert report.probes[0].input == ("a picture" if name == "vision" else "12 tokens")


def test_what_sees_is_shown_a_picture(demo_material: Path, tmp_path: Path) -> None:
    """A change of the vision tower alone shows in the output."""
    import shutil

    from safetensors.torch import load_file, save_file

    base = demo_material / "model"
    shutil.copytree(base, tmp_path / "export")
    file = tmp_path / "export/model.safetensors"
    tensors = {
        name: value + 0.01 if ".visual." in name and "weight" in name else value
        for name, value in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    report = healthy(tmp_path / "export", base, expect_changed=["visual"])
    assert report.probes[0].input == "8 tokens of text and a picture"
    assert report.probes[0].difference > 1e-6


@pytest.mark.parametrize("family", ["cosmos_predict1", "cosmos_predict2", "cosmos3_vision"])
def test_pipelines_pass_and_their_denoiser_runs(family: str, tmp_path: Path) -> None:
    from tao_runtime.engine.demo.captioned_clips import draw_set
    from tao_runtime.engine.pipelines import save_pipeline

    demo = importlib.import_module(f"tao_runtime.engine.demo.{family}")
    pixels = torch.from_numpy(draw_set(16, 1)[0]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    vae = demo.tiny_vae().fit(pixels)
    for seed in (0, 1):
        network = demo.tiny_network(seed=seed)
        with torch.no_grad():  # a fresh network answers 0
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        save_pipeline(demo.tiny_pipeline(network, vae), tmp_path / str(seed))
    probe, *others = healthy(tmp_path / "1", tmp_path / "0").probes
    assert [other.path for other in others] == ([] if family == "cosmos3_vision" else ["text_encoder"])
    assert probe.input.endswith("latent frames of noise") and probe.difference > 0


def test_a_component_of_another_kind_is_loaded_and_not_run(tmp_path: Path) -> None:
    import diffusers

    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(tmp_path)
    (probe,) = healthy(tmp_path).probes
    assert probe.loaded and probe.input is None


def test_the_command_says_it_and_ends_with_1(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tao_runtime.cli.app import app

    plant, _ = PROBE_FAULTS["audit/probe-missing"]
    made = plant(tmp_path)
    done = CliRunner().invoke(app, ["audit", str(made.path), "--probe", "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (
        report["findings"][0]["rule"] == "audit/probe-missing" and "model.norm.weight" in report["findings"][0]["saw"]
    )
    assert report["probes"] == [{"path": "", "loaded": True, "input": "12 tokens", "difference": None}]
    assert CliRunner().invoke(app, ["audit", str(made.path)]).exit_code == 0
