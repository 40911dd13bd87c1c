"""The audit as a command: exit codes, JSON by its schema, no torch, and alone without the rest of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import artefacts as make
from tao_runtime.audit.report import AuditReport

ROOT = Path(__file__).parents[2]
# What the dry side may have, and the audit alone must do without as well.
FORBIDDEN = ["torch", "transformers", "diffusers", "peft", "accelerate", "safetensors", "av", "pyarrow", "tokenizers",
             "typer", "PIL"]  # fmt: skip
ALONE = """
import runpy, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden}:
            raise AssertionError(f"{{name}} is imported")
sys.meta_path.insert(0, Forbid())
sys.argv[0] = "audit"
runpy.run_module("tao_runtime.audit", run_name="__main__")
"""
COMMANDS = {
    "alone": [sys.executable, "-c", ALONE.format(forbidden=FORBIDDEN)],
    "tao-run": [sys.executable, "-c", "from tao_runtime.cli import main; main()", "audit"],
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> list[str]:
    return COMMANDS[request.param]


def run(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_healthy_model_ends_with_0(command: list[str], tmp_path: Path) -> None:
    done = run(command, make.make_model(tmp_path))
    first, second, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert first == ".: model, tiny_vl, 13 tensors, 4,864 parameters, 19,456 bytes, F32"
    assert second == "  towers: language_model, lm_head, visual"
    assert last.startswith("ok: ") and last.endswith("0 errors, 0 warnings, 0 notes")


def test_findings_end_with_1_and_say_where_saw_want_fix(command: list[str], tmp_path: Path) -> None:
    make.make_adapter(tmp_path, {name: value[: len(value) // 8] for name, value in make.adapter_tensors().items()})
    done = run(command, tmp_path)
    assert done.returncode == 1
    first = done.stdout.splitlines()[0]
    assert first.startswith(
        f"error[audit/fsdp-shard] {tmp_path.name}: 8 of 16 matrices have a part of their rows: one FSDP shard of 8 (or "
        "more) was saved as if it were whole; model.language_model.layers.0.self_attn.q_proj has lora_A of rank 1; "
    )
    assert "; want 8 of adapter_config.json. Fix: gather on every rank (full state dict) before saving" in first


def test_a_missing_path_ends_with_2(command: list[str], tmp_path: Path) -> None:
    for arguments in (["nowhere"], [tmp_path, "--base", "nowhere"], [tmp_path, "--expect-changed", "visual"]):
        done = run(command, *arguments)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: ")


def test_json_follows_its_schema(command: list[str], tmp_path: Path) -> None:
    base, export = make.make_model(tmp_path / "base"), make.make_model(tmp_path / "export")
    make.rewrite(export, lambda tensors: {n: t + (0.5 if "visual" in n else 0) for n, t in tensors.items()})
    arguments = ["--base", base, "--expect-unchanged", "visual", "--expect-unchanged", "lm_head", "--json"]
    done = run(command, export, *arguments)
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads((ROOT / "schemas/audit.schema.json").read_text()))
    assert AuditReport.model_validate(report).exit_code == done.returncode == 1
    assert [finding["rule"] for finding in report["findings"]] == ["audit/tower-changed"]
    towers = {tower["name"]: tower["state"] for tower in report["parts"][0]["towers"]}
    assert towers == {"language_model": "unchanged", "lm_head": "unchanged", "visual": "changed"}


def test_the_page_lists_every_code() -> None:
    from tao_runtime.audit.codes import CODES

    page = (ROOT / "docs/audit.md").read_text()
    assert [code for code in CODES if f"`{code}`" not in page] == []
