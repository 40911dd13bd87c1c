"""The command line by its contract: exit codes, one message instead of a traceback, JSON for machines, no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from project import Project
from tao_runtime.plan.make import family_plan
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.load import load_spec

REPOSITORY = Path(__file__).parents[2]
# A process in which the heavy libraries cannot be imported: what works here works without them.
DRY = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "diffusers", "peft", "accelerate", "safetensors"}:
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Forbid())
from tao_runtime.cli import main
sys.argv[0] = "tao-run"
main()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def tao(*arguments: str | Path, cwd: Path | None = None, forbid: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has no torch, and none of the library `forbid`."""
    command = [sys.executable, "-c", DRY.replace('"torch"', f'"torch", "{forbid}"'), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("library", ["numpy", "pydantic", "tokenizers"])
def test_help_needs_no_torch_and_nothing_slow(library: str) -> None:
    done = tao("--help", forbid=library)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("check", "plan", "train", "evaluate", "gaps", "demo", "template"))


def test_a_good_spec_ends_with_0(project: Project) -> None:
    done = tao("check", "--spec", project.spec())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ok: cosmos_reason train, 44 records, 5 media; 0 errors, 0 warnings, 0 notes\n"


@pytest.mark.parametrize("override", ["train.train_batch_per_replica=6", "train.epoch=many", "nokey=1"])
def test_findings_end_with_1(project: Project, override: str) -> None:
    done = tao("check", "--spec", project.spec(), override)
    assert done.returncode == 1
    assert f"error[{'cosmos_reason/batch-divides' if '=6' in override else 'spec/'}" in done.stdout
    assert "not ok" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "No such file"), ("a: [1,", "spec.yaml:1"), ("- 1\n", "spec.yaml"), ("\x00", "spec.yaml")],
)
def test_what_cannot_be_read_ends_with_2(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "spec.yaml" if text is None else write(tmp_path, text)
    for command in ("check", "train"):
        done = tao(command, "--spec", path)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert done.stderr.startswith("error: ") and word in done.stderr


@pytest.mark.parametrize(
    "arguments", [["chek"], ["check"], ["check", "--spec", "s", "--nonsense"], ["check", "--spec", "s", "--nproc", "0"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = tao(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


@pytest.mark.parametrize("overrides", [[], ["train.train_batch_per_replica=6"], ["train.epoch=many"]])
def test_json_is_a_report(project: Project, overrides: list[str]) -> None:
    done = tao("check", "--spec", project.spec(), "--json", *overrides)
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads((REPOSITORY / "schemas" / "report.schema.json").read_text()))
    assert report["ok"] is (done.returncode == 0) is (not overrides)


@pytest.mark.parametrize("action", family_plan("cosmos_reason").PLANNERS)
def test_plan_is_a_plan(project: Project, action: str) -> None:
    spec = project.spec(action)
    done = tao("plan", "--spec", spec, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    jsonschema.validate(plan, json.loads((REPOSITORY / "schemas" / f"{action}-plan.schema.json").read_text()))
    assert plan["spec_sha256"] == load_spec(spec, action=action).sha256
    assert "written to" in tao("plan", "--spec", spec).stdout


def test_plan_of_a_spec_with_errors_is_shown_and_ends_with_1(project: Project) -> None:
    done = tao("plan", "--spec", project.spec(), "train.train_batch_per_replica=6")
    assert done.returncode == 1
    assert "global batch" in done.stdout
    assert "batch-divides" in done.stderr


def test_families_says_what_each_does() -> None:
    rows = json.loads(tao("families", "--json").stdout)
    assert set(rows) == set(FAMILIES)
    for name, row in rows.items():
        assert set(row["actions"]) == set(family_plan(name).PLANNERS)


FILLED = {
    "train": {"custom.train_dataset.annotation_path": "train", "results_dir": "out", "train.train_policy.type": "sft"},
    "evaluate": {"dataset.annotation_path": "train", "results_dir": "out"},
    "inference": {"media": "train/clip_0.mp4", "results_dir": "out"},
    "quantize": {"results_dir": "out"},
}


@pytest.mark.parametrize("action", FILLED)
def test_a_template_loads_once_its_required_keys_are_filled(tmp_path: Path, action: str) -> None:
    done = tao("template", "cosmos_reason", action)
    assert done.returncode == 0
    path = write(tmp_path, done.stdout)
    spec = load_spec(path, [f"{key}={value}" for key, value in FILLED[action].items()])
    assert (spec.family, spec.action) == ("cosmos_reason", action)
    required = {line.split(":")[0].strip("# ") for line in done.stdout.splitlines() if ": ???" in line}
    assert required and required <= {key.rsplit(".", 1)[-1] for key in FILLED[action]}


@pytest.mark.parametrize("arguments", [["template", "nobody", "train"], ["template", "cosmos_reason", "dance"]])
def test_a_template_of_nothing_ends_with_2(arguments: list[str]) -> None:
    done = tao(*arguments)
    assert done.returncode == 2
    assert "does not exist; want one of" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.epoch", ["whole number >= 1", "10", "Times that every record is visited"]),
        ("learning_rate", ["train.optm_lr"]),
        ("cosmos_reason/batch-divides", ["error", "multiple of its micro-batch", "Source:"]),
        ("dataset/video-fps", ["video_fps"]),
    ],
)
def test_explain(name: str, words: list[str]) -> None:
    done = tao("explain", name)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout


def test_explain_of_nothing_ends_with_2() -> None:
    done = tao("explain", "train.epohc")
    assert done.returncode == 2
    assert "train.epoch" in done.stderr, "the nearest known key is named"
    for wrong, near in (("audit/unreadble", "audit/unreadable"), ("clips/windw", "clips/window")):
        done = tao("explain", wrong)
        assert done.returncode == 2 and near in done.stderr, done.stderr


def test_fix_writes_a_corrected_copy_and_leaves_the_source(project: Project, tmp_path: Path) -> None:
    tables = project.tables("train")
    tables["train"]["train_batch_per_replica"] = 7
    tables["train"]["fp8"] = {"enable_fp8": True}
    source = write(tmp_path, yaml.safe_dump(tables))
    before = source.read_bytes()
    done = tao("check", "--spec", source, "--fix", tmp_path / "fixed")
    assert done.returncode == 1
    assert source.read_bytes() == before
    assert "2 keys set: " in done.stderr
    assert {path.name for path in (tmp_path / "fixed").iterdir()} == {"spec.yaml", "spec.diff", "summary.json"}
    assert tao("check", "--spec", tmp_path / "fixed" / "spec.yaml").returncode == 0
    spec = load_spec(tmp_path / "fixed" / "spec.yaml").model_dump()
    assert (spec["train"]["train_batch_per_replica"], spec["train"]["fp8"]["enable_fp8"]) == (8, False)


def test_fix_never_writes_over_the_source(project: Project, tmp_path: Path) -> None:
    source = write(tmp_path, yaml.safe_dump(project.tables("train")))
    before = files(tmp_path)
    done = tao("check", "--spec", source, "--fix", tmp_path)
    assert done.returncode == 2
    assert "would write over" in done.stderr
    assert files(tmp_path) == before


def test_fix_of_a_spec_that_does_not_load_says_so(project: Project, tmp_path: Path) -> None:
    source = write(tmp_path, yaml.safe_dump({**project.tables("train"), "nokey": 1}))
    done = tao("check", "--spec", source, "--fix", tmp_path / "fixed")
    assert done.returncode == 1
    assert not (tmp_path / "fixed").exists()


def test_quantize_refuses_what_this_machine_cannot_make_before_anything_starts(project: Project) -> None:
    done = tao("quantize", "--spec", project.spec("quantize"), "quantize.quantization_scheme=NVFP4")
    assert done.returncode == 1
    assert "error[cosmos_reason/quantize-gpu] quantize.quantization_scheme: NVFP4, and no GPU here" in done.stderr
    assert not (project.root / "out").exists()


@pytest.mark.parametrize("override", ["train.train_batch_per_replica=6", "train.epoch=many"])
def test_train_refuses_on_errors_and_writes_nothing(project: Project, override: str) -> None:
    spec = project.spec()
    before = files(project.root)
    done = tao("train", "--spec", spec, override)
    assert done.returncode == 1
    assert "error[" in done.stderr and done.stdout == ""
    assert files(project.root) == before
    assert not (project.root / "out").exists()


def test_a_spec_of_another_action_is_refused(project: Project) -> None:
    done = tao("train", "--spec", project.spec("evaluate"))
    assert done.returncode == 1
    assert "want a spec of action train" in done.stderr


def test_generated_files_are_checked_where_one_stands() -> None:
    done = tao("dev", "generate", "--check", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_a_limit_of_a_trace_that_is_not_asked_for_is_wrong_usage(project: Project) -> None:
    done = tao("plan", "--spec", project.spec(), "--trace-limit", "5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "give --trace" in done.stderr


@pytest.mark.parametrize("given", [["--fit", "24GB", "--nproc", "2"], ["--fit", "24GB", "--trace"]])
def test_options_of_plan_that_exclude_each_other_are_wrong_usage(project: Project, given: list[str]) -> None:
    done = tao("plan", "--spec", project.spec(), *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value" in done.stderr and "--fit" in done.stderr
