"""What is compared with a base: towers, modules, components, adapters; and what can be neither read nor guessed."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import artefacts as make
from tao_runtime.audit import AuditReport, audit
from tao_runtime.errors import InputError


def codes(report: AuditReport) -> list[str]:
    return [finding.rule.removeprefix("audit/") for finding in report.findings]


def trained(root: Path, part: str) -> Path:
    """A model in which only one part has changed."""
    model = make.make_model(root, shards=2)
    for shard in model.glob("*.safetensors"):
        change = {"file": shard.name}
        make.rewrite(model, lambda tensors: {n: t + np.float32(part in n) for n, t in tensors.items()}, **change)
    return model


@pytest.mark.parametrize(
    ("same", "other", "want"),
    [
        (["visual"], ["language_model"], []),
        (["visual.blocks", "lm_head"], ["language_model.layers.3"], []),
        (["language_model"], [], ["tower-changed"]),
        (["model.language_model"], [], ["tower-changed"]),
        ([], ["visual.merger"], ["tower-unchanged"]),
        (["visua"], [], ["tower-unknown"]),
    ],
)
def test_parts_of_a_model(same: list[str], other: list[str], want: list[str], tmp_path: Path) -> None:
    base, export = make.make_model(tmp_path / "base"), trained(tmp_path / "export", "language_model")
    report = audit(export, base=base, expect_unchanged=same, expect_changed=other)
    assert codes(report) == want
    assert {t.name: (t.state, t.changed) for t in report.parts[0].towers} == {
        "language_model": ("changed", 9),
        "lm_head": ("unchanged", 0),
        "visual": ("unchanged", 0),
    }


@pytest.mark.parametrize(
    ("same", "other", "want"),
    [
        (["text_encoder"], ["transformer"], []),
        (["transformer"], [], ["tower-changed"]),
        (["transformer.blocks"], [], ["tower-changed"]),
        ([], ["text_encoder"], ["tower-unchanged"]),
        (["vae"], [], ["tower-unknown"]),
    ],
)
def test_components_of_a_pipeline(same: list[str], other: list[str], want: list[str], tmp_path: Path) -> None:
    base, tuned = make.make_pipeline(tmp_path / "base"), make.make_pipeline(tmp_path / "tuned")
    make.rewrite(
        tuned, lambda ts: {n: t + 1 for n, t in ts.items()}, file="transformer/diffusion_pytorch_model.safetensors"
    )
    assert codes(audit(tuned, base=base, expect_unchanged=same, expect_changed=other)) == want


def test_a_pipeline_in_which_nothing_has_changed(tmp_path: Path) -> None:
    base, tuned = make.make_pipeline(tmp_path / "base"), make.make_pipeline(tmp_path / "tuned")
    assert codes(audit(tuned, base=base)) == ["same-as-base"] * 2


@pytest.mark.parametrize(
    ("same", "other", "want"),
    [
        (["visual"], ["language_model"], []),
        (["language_model"], [], ["tower-changed"]),
        ([], ["visual"], ["tower-unchanged"]),
    ],
)
def test_parts_that_an_adapter_is_for(same: list[str], other: list[str], want: list[str], tmp_path: Path) -> None:
    base, adapter = make.make_model(tmp_path / "base"), make.make_adapter(tmp_path / "adapter")
    assert codes(audit(adapter, base=base, expect_unchanged=same, expect_changed=other)) == want


def test_a_base_of_another_kind_is_not_compared(tmp_path: Path) -> None:
    model, pipeline = make.make_model(tmp_path / "model"), make.make_pipeline(tmp_path / "pipeline")
    assert codes(audit(model, base=pipeline)) == ["base-unreadable"]
    assert codes(audit(pipeline, base=model)) == ["base-unreadable"]


def test_an_expectation_that_cannot_be_looked_at_is_wrong_usage(tmp_path: Path) -> None:
    model = make.make_model(tmp_path)
    for options in ({}, {"base": model, "values": False}):
        with pytest.raises(InputError, match="read a base"):
            audit(model, expect_unchanged=["visual"], **options)


def test_a_prefix_is_named_and_what_lies_under_it_compared(tmp_path: Path) -> None:
    base, export = make.make_model(tmp_path / "base"), trained(tmp_path / "export", "visual")
    wrapped = {f"net.{name}": value + 1 for name, value in make.model_tensors().items()}
    report = audit(make.make_model(tmp_path / "wrapped", wrapped), base=base)
    assert codes(report) == ["key-prefix"] and "begin with 'net.'" in report.findings[0].saw
    bare = {name.removeprefix("model."): value + 1 for name, value in make.model_tensors().items()}
    report = audit(make.make_model(tmp_path / "bare", bare), base=base)
    assert codes(report) == ["key-prefix"] and report.findings[0].saw.startswith("12 names lack 'model.'")
    assert codes(audit(export, base=base)) == []


def test_a_quantised_export_is_not_missing_its_weights(tmp_path: Path) -> None:
    base = make.make_model(tmp_path / "base")
    packed = {
        (f"{n}_packed" if "_proj" in n else n): (np.ones((4, 4), np.uint8) if "_proj" in n else t + 1)
        for n, t in make.model_tensors().items()
    }
    export = make.make_model(tmp_path / "export", packed)
    make.edit_json(export / "config.json", lambda config: config.update(quantization_config={"quant_method": "x"}))
    assert codes(audit(export, base=base)) == []


def test_a_resized_vocabulary_is_right_if_the_configuration_says_so(tmp_path: Path) -> None:
    base = make.make_model(tmp_path / "base")
    longer = {
        n: np.concatenate([t, t[:8]]) + 1 if n.endswith(("embed_tokens.weight", "lm_head.weight")) else t
        for n, t in make.model_tensors().items()
    }
    export = make.make_model(tmp_path / "export", longer)
    assert "shape-differs" in codes(audit(export, base=base))
    make.edit_json(export / "config.json", lambda config: config["text_config"].update(vocab_size=make.VOCABULARY + 8))
    assert codes(audit(export, base=base)) == []


def test_trainer_state_alone_is_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "optimizer.pt").write_bytes(b"\x80\x04.")
    report = audit(tmp_path)
    assert codes(report) == ["unrecognised"] and report.parts[0].pickles == ("optimizer.pt",)


def test_names_with_line_ends_stay_on_one_line(tmp_path: Path) -> None:
    make.write_safetensors(tmp_path / "a\nb\x1b[31m.safetensors", {"x\ny.lora_A.weight": np.ones((2, 2), np.float32)})
    os.truncate(tmp_path / "a\nb\x1b[31m.safetensors", 100)
    report = audit(tmp_path)
    assert report.findings and "\x1b" not in report.render()
    assert len(report.render().splitlines()) == len(report.findings) + len(report.parts) + 1


def test_rows_that_are_parts_of_bytes_or_gigabytes_are_no_rows(tmp_path: Path) -> None:
    entries = {"m.lora_A.weight": ("F4", [2, 1], 1), "m.lora_B.weight": ("U8", [1, 1 << 30], 1 << 30)}
    header, position = {}, 0
    for name, (dtype, shape, size) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header).encode()
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(path, 8 + len(raw) + position)
    assert "adapter-untrained" in codes(audit(tmp_path))


def test_a_name_without_end_is_an_entry_that_is_wrong(tmp_path: Path) -> None:
    name = "1." * 500_000
    make.write_safetensors(make.make_model(tmp_path) / "model.safetensors", {name: np.ones(1, np.float32)})
    report = audit(tmp_path)
    assert codes(report) == ["header-entry"] and report.seconds < 2
