"""What a spec needs of the hub is seen before anything starts: against a hub that really answers, refuses and hangs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake_hub import COMMIT, GOOD, STRANGER, FakeHub, Repo, serve
from tao_runtime.cli.app import app
from tao_runtime.data.access import Need, look_at_access, needs_of
from tao_runtime.data.hub import Hub, look_at_token
from tao_runtime.errors import Finding
from tao_runtime.preflight.access import AccessReport, judge_access
from tao_runtime.spec.cosmos_predict2 import InferenceSpec, TrainSpec
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.load import load_spec

SPEC = """
[job]
task = "video2world"
name = "a"
project = "p"
group = "g"
[checkpoint]
load_path = "{model}"
[model]
text_encoder = "org/t5"
[model.tokenizer]
vae_path = "{vae}"
[dataloader_train]
dataset_dir = "{data}"
num_frames = 5
"""
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"1234", "README.md": b"x"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with serve(FakeHub({"org/model": Repo(WEIGHTS), "org/t5": Repo(WEIGHTS)})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    (tmp_path / "vae").mkdir()
    (tmp_path / "data").mkdir()
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.format(model="org/model", vae=tmp_path / "vae", data=tmp_path / "data"))
    return path


def look(path: Path, *, offline: bool = False, timeout_s: float = 5) -> AccessReport:
    facts = look_at_access(load_spec(path), hub=Hub(timeout_s=timeout_s), offline=offline)
    return judge_access(facts, family="f", action="train")


def rules(report: AccessReport) -> list[str]:
    return [finding.rule for finding in report.findings]


def only(report: AccessReport) -> Finding:
    (finding,) = report.findings
    return finding


def cache(asset: str, files: dict[str, bytes], home: Path, *, branch: bool = True) -> Path:
    folder = home / "hub" / f"models--{asset.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    if branch:
        (folder / "refs" / "main").write_text(COMMIT)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    return snapshot


def test_public_things_need_no_token_and_say_their_bytes(hub: FakeHub, spec_file: Path) -> None:
    report = look(spec_file)
    assert report.ok and report.findings == () and report.token is None and report.endpoint == hub.address
    lines = {line.role: line for line in report.assets}
    assert (lines["model"].access, lines["model"].gated, lines["model"].bytes_to_fetch) == ("open", False, 6)
    assert lines["tokenizer"].here == lines["data"].here == "local" and lines["model"].revision == COMMIT


def test_gated_without_a_token_is_401_and_names_the_page(hub: FakeHub, spec_file: Path) -> None:
    hub.repos["org/model"].gated = True
    found = only(look(spec_file))
    assert found.rule == "access/token-missing" and found.where == "checkpoint.load_path" and "401" in found.saw
    assert found.fix is not None and f"{hub.address}/org/model" in found.fix.text


def test_a_licence_that_is_not_accepted_is_403(hub: FakeHub, spec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["org/model"].gated = True
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    found = only(look(spec_file))
    assert found.rule == "access/licence" and "403" in found.saw and "Access is restricted" in found.saw
    assert found.fix is not None and f"accept it at {hub.address}/org/model" in found.fix.text
    monkeypatch.setenv("HF_TOKEN", GOOD)
    report = look(spec_file)
    assert report.ok and [line.gated for line in report.assets if line.role == "model"] == [True]


def test_a_token_that_the_hub_refuses_is_not_a_missing_licence(
    hub: FakeHub, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    assert rules(look(spec_file)) == ["access/token-refused"] * 2  # a hub refuses public files with it too


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("hf_abc def", "white space"),
        (GOOD + "\n", "white space"),
        (f"'{GOOD}'", "quotes"),
        ("hf_é" + "a" * 30, "characters"),
        ("  ", "empty"),
    ],
)
def test_a_malformed_token_is_found_sent_nowhere_and_never_shown(
    hub: FakeHub, spec_file: Path, monkeypatch: pytest.MonkeyPatch, value: str, word: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    done = CliRunner().invoke(app, ["access", "--spec", str(spec_file), "--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    (found,) = report["findings"]
    assert found["rule"] == "access/token-malformed" and found["where"] == "HF_TOKEN" and word in found["saw"]
    assert value.strip() == "" or value.strip(" \n'") not in done.output
    assert set(hub.tokens) == {None}


def test_a_token_of_another_kind_is_told_only_of_the_public_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "ghp_" + "a" * 30)
    assert look_at_token().problem == "does not start with hf_"
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    assert look_at_token().problem is None


def test_what_does_not_exist_is_404_to_those_who_are_known(
    hub: FakeHub, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del hub.repos["org/model"]
    found = only(look(spec_file))
    assert found.rule == "access/token-missing" and "private, or does not exist" in found.saw
    monkeypatch.setenv("HF_TOKEN", GOOD)
    assert only(look(spec_file)).rule == "access/not-found"


def test_a_hub_that_hangs_is_given_up_in_time(hub: FakeHub, spec_file: Path) -> None:
    hub.hang.add("org/model")
    start = time.monotonic()
    found = only(look(spec_file, timeout_s=0.3))
    assert found.rule == "access/unreachable" and "no answer within 0.3 s" in found.saw
    assert time.monotonic() - start < 3


def test_a_hub_that_is_not_there_is_named(spec_file: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    report = look(spec_file)
    assert rules(report) == ["access/unreachable"] * 2 and "http://127.0.0.1:9" in report.findings[0].saw
    assert "connection refused" in report.findings[0].saw


def test_offline_proves_that_nothing_would_be_fetched(hub: FakeHub, spec_file: Path, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"1234"}
    assert rules(look(spec_file, offline=True)) == ["access/offline"] * 2
    snapshot = cache("org/model", files, tmp_path / "home")
    cache("org/t5", files, tmp_path / "home")
    report = look(spec_file, offline=True)
    assert report.ok and [line.here for line in report.assets] == ["cached", "local", "cached", "local"]
    (snapshot / "model.safetensors").unlink()
    assert "lacks weights" in only(look(spec_file, offline=True)).saw
    (snapshot / "model.safetensors").symlink_to("../../blobs/gone")
    assert "lacks model.safetensors" in only(look(spec_file, offline=True)).saw
    assert hub.asked == []


def test_offline_sees_a_shard_that_an_index_names(hub: FakeHub, spec_file: Path, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    cache("org/t5", {"config.json": b"{}", "model.safetensors": b"1"}, tmp_path / "home")
    cache("org/model", {"config.json": b"{}", "model.safetensors.index.json": index, "model-1.safetensors": b"1"},
          tmp_path / "home")  # fmt: skip
    assert "lacks model-2.safetensors" in only(look(spec_file, offline=True)).saw


def test_online_a_cached_file_of_another_size_is_not_whole(hub: FakeHub, spec_file: Path, tmp_path: Path) -> None:
    cache("org/model", {"config.json": b"{}", "model.safetensors": b"12"}, tmp_path / "home")
    (line,) = [line for line in look(spec_file).assets if line.role == "model"]
    assert (line.here, line.proven, line.bytes_to_fetch) == ("partly", True, 4)


def test_a_path_that_is_not_here_is_known_by_its_family(tmp_path: Path, spec_file: Path) -> None:
    text = SPEC.format(
        model="checkpoints/nvidia/Cosmos-Predict2-2B-Video2World/model.pt", vae="nothing/is/here", data="x"
    )
    spec_file.write_text(text)
    needs = {need.role: need for need in needs_of(load_spec(spec_file))}
    model = needs["model"].asset
    assert model is not None and model.repo == "nvidia/Cosmos-Predict2-2B-Video2World"
    assert needs["tokenizer"].asset is None
    assert needs["data"] == Need("data", "dataloader_train.dataset_dir", "x", None)
    strange = {(found.rule, found.where) for found in look(spec_file, offline=True).findings}
    assert ("access/unknown", "model.tokenizer.vae_path") in strange


def test_libraries_fetch_what_no_key_names() -> None:
    tacit = [asset.repo for asset in InferenceSpec.hub if "inference" in asset.actions]
    assert "nvidia/Cosmos-1.0-Guardrail" in tacit and len(tacit) == 3
    assert TrainSpec.hub is InferenceSpec.hub and not any("train" in asset.actions for asset in TrainSpec.hub)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_names_its_assets_well(family: str) -> None:
    for spec in FAMILIES[family].actions.values():
        for asset in spec.hub:
            assert asset.repo.count("/") == 1 and (asset.revision is None or len(asset.revision) == 40)
            assert asset.fetched or asset.note, f"{asset.repo} is left to another command: which?"


def test_the_command_prints_a_line_for_each_thing(hub: FakeHub, spec_file: Path) -> None:
    done = CliRunner().invoke(app, ["access", "--spec", str(spec_file)])
    assert done.exit_code == 0, done.output
    assert "org/model@11111111" in done.output and "ok:" in done.output


@pytest.mark.parametrize("asked", [["--access"], ["--access", "--offline"]])
def test_a_check_asks_too_when_it_is_told_to(hub: FakeHub, spec_file: Path, asked: list[str]) -> None:
    hub.repos["org/model"].gated = True
    found = json.loads(CliRunner().invoke(app, ["check", "--spec", str(spec_file), *asked, "--json"]).stdout)
    wanted = "access/offline" if "--offline" in asked else "access/token-missing"
    assert [each["where"] for each in found["findings"] if each["rule"] == wanted][:1] == ["checkpoint.load_path"]
    assert found["counts"]["errors"] == sum(each["severity"] == "error" for each in found["findings"])
    silent = json.loads(CliRunner().invoke(app, ["check", "--spec", str(spec_file), "--json"]).stdout)
    assert not [each for each in silent["findings"] if each["rule"].startswith("access/")]
