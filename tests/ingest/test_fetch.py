"""A fetch says its bytes first, obeys pins and locks, goes on where it was, and leaves a spec that needs no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("huggingface_hub")

from fake_hub import FakeHub, Repo, serve
from tao_runtime.cli.app import app
from tao_runtime.data.access import look_at_access
from tao_runtime.data.hub import Hub, HubFile, chosen_files
from tao_runtime.errors import InputError
from tao_runtime.ingest.fetch import plan_fetch
from tao_runtime.ingest.lock import HubLock, LockedFile, LockedRepo, add_to_lock, read_lock
from tao_runtime.spec.hub_asset import HubAsset
from tao_runtime.spec.load import load_spec

SPEC = """
[job]
task = "vfm"
experiment = "vision_sft_nano"
[checkpoint]
load_path = "examples/checkpoints/Cosmos3-Nano"
[model.tokenizer]
vae_path = "examples/checkpoints/wan22_vae/Wan2.2_VAE.pth"
"""
NANO, VAE, BRIDGE = "nvidia/Cosmos3-Nano", "Wan-AI/Wan2.2-TI2V-5B", "nvidia/BridgeData2-Subset-Synthetic-Captions"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH", "DATASET_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(SPEC)
    repos = {
        NANO: Repo({"model_index.json": b"{}", "transformer/config.json": b"[]", "other.bin": b"not wanted",
                    "transformer/a.safetensors": b"12345678"}, commit="2" * 40),
        VAE: Repo({"Wan2.2_VAE.pth": b"vae", "big.safetensors": b"not wanted"},
                  commit="921dbaf3f1674a56f47e83fb80a34bac8a8f203e"),
        BRIDGE: Repo({"sft_dataset_bridge/train/video_dataset_file.jsonl": b"{}\n", "README.md": b"x"}, kind="dataset",
                     commit="40d018ac1c1a2a4b9734f17fdb21f3d933c49a01"),
    }  # fmt: skip
    with serve(FakeHub(repos)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["prepare", "fetch", "recipe.toml", *words])


def fetched_files(hub: FakeHub) -> list[str]:
    return [line.split("/", 1)[1] for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


def test_a_dry_run_says_the_bytes_and_fetches_nothing(hub: FakeHub, tmp_path: Path) -> None:
    done = run("--dry-run", "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["bytes_to_fetch"] == 2 + 2 + 8 + 3 + 3 and not plan["done"] and plan["overrides"] == []
    assert {item["repo"]: item["pinned_by"] for item in plan["items"]} == {NANO: "hub", VAE: "family", BRIDGE: "family"}
    assert fetched_files(hub) == [] and not (tmp_path / "hub.lock.json").exists()


def test_what_is_fetched_is_pinned_locked_and_enough_to_be_offline(hub: FakeHub, tmp_path: Path) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    assert len(fetched_files(hub)) == 5 and "all files are in" in done.stdout
    lock = json.loads((tmp_path / "hub.lock.json").read_text())
    assert lock["repos"][NANO]["revision"] == "2" * 40
    overrides = done.stdout.partition("use them with: ")[2].split()
    vae = dict(pair.split("=") for pair in overrides)["model.tokenizer.vae_path"]
    assert Path(vae).read_bytes() == b"vae"
    offline = CliRunner().invoke(app, ["access", "--spec", "recipe.toml", "--offline"])
    assert offline.exit_code == 0, offline.output


def test_a_second_fetch_brings_nothing(hub: FakeHub) -> None:
    run()
    hub.asked.clear()
    done = run("--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["bytes_to_fetch"] == 0 and fetched_files(hub) == []


def test_a_fetch_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    hub.repos[NANO].files = {**hub.repos[NANO].files}
    lost = hub.repos[NANO].files.pop("transformer/a.safetensors")  # type: ignore[attr-defined]
    assert run().exit_code == 0
    hub.repos[NANO].files["transformer/a.safetensors"] = lost  # type: ignore[index]
    (tmp_path / "hub.lock.json").unlink()
    hub.asked.clear()
    assert run().exit_code == 0
    assert [name.rpartition("/")[2] for name in fetched_files(hub)] == ["a.safetensors"]


def test_a_lock_is_obeyed_when_the_branch_moves_on(hub: FakeHub, tmp_path: Path) -> None:
    run()
    hub.repos[NANO].commit = "3" * 40  # the old commit is gone from this hub
    done = run()
    assert done.exit_code == 0 and "2" * 40 in done.stdout  # all of it is in the cache
    shutil.rmtree(tmp_path / "home" / "hub" / "models--nvidia--Cosmos3-Nano")
    done = run()  # asking for it must fail, and not be answered with another commit
    assert done.exit_code == 1 and "has no revision" in done.output and "2" * 40 in done.output


def test_files_can_be_put_into_a_folder(hub: FakeHub, tmp_path: Path) -> None:
    done = run("--out", "models")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "models" / NANO / "transformer" / "a.safetensors").read_bytes() == b"12345678"
    assert f"checkpoint.load_path=models/{NANO}" in done.stdout
    assert f"dataloader_train.dataset_path=models/{BRIDGE}/sft_dataset_bridge" in done.stdout
    hub.asked.clear()
    assert run("--out", "models").exit_code == 0 and fetched_files(hub) == []


def test_nothing_is_fetched_where_a_licence_is_missing(hub: FakeHub) -> None:
    hub.repos[NANO].gated = True
    done = run()
    assert done.exit_code == 1 and "accept its licence at" in done.output and fetched_files(hub) == []


def test_a_disk_that_is_too_small_is_named_before(hub: FakeHub, tmp_path: Path) -> None:
    facts = look_at_access(load_spec(Path("recipe.toml")), hub=Hub())
    huge = tuple(one if one.state is None else _with_size(one, 1 << 60) for one in facts.seen)
    plan = plan_fetch(type(facts)(facts.hub, facts.token, False, huge), HubLock(), out=None, family="f", action="train")
    assert [finding.rule for finding in plan.findings] == ["fetch/disk"] and not plan.ok


def _with_size(one, size: int):
    from dataclasses import replace

    return replace(one, files=tuple(HubFile(file.name, size) for file in one.files))


def test_a_lock_keeps_its_commits_and_gains_files(tmp_path: Path) -> None:
    def entry(commit: str, *names: str) -> LockedRepo:
        return LockedRepo(kind="model", revision=commit * 40, files=tuple(LockedFile(name=name) for name in names))

    path = tmp_path / "hub.lock.json"
    add_to_lock(path, {"a/b": entry("1", "x"), "c/d": entry("1", "x")})
    add_to_lock(path, {"a/b": entry("1", "y"), "c/d": entry("2", "y"), "e/f": entry("3", "z")})
    repos = read_lock(path).repos
    assert [file.name for file in repos["a/b"].files] == ["x", "y"]
    assert repos["c/d"] == entry("1", "x") and repos["e/f"] == entry("3", "z")


def test_a_broken_lock_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "hub.lock.json").write_text('{"schema": "tao-run/hub-lock/1", "repos": {"a/b": {"kind": "model"}}}')
    assert isinstance(run().exception, Exception)


def test_pickled_weights_only_where_there_are_no_others() -> None:
    asset = HubAsset("text_encoder", "org/t5")
    names = ["config.json", "pytorch_model.bin", "tf_model.h5"]
    files = tuple(HubFile(name, 1) for name in names)
    assert [file.name for file in chosen_files(asset, files)] == ["config.json", "pytorch_model.bin"]
    both = (*files, HubFile("model.safetensors", 1))
    assert [file.name for file in chosen_files(asset, both)] == ["config.json", "model.safetensors"]


def test_a_lock_that_is_a_folder_is_refused_also_where_nothing_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    for words in (["fetch", "recipe.toml", "--dry-run"], ["fetch", "recipe.toml"]):
        done = CliRunner().invoke(app, ["prepare", *words, "--lock", "locks"])
        assert isinstance(done.exception, InputError) and "locks" in str(done.exception)
    with pytest.raises(InputError, match="lock file"):
        read_lock(tmp_path)


def test_an_out_that_is_a_file_is_refused(hub: FakeHub) -> None:
    for place in ("recipe.toml", "recipe.toml/below"):
        done = run("--out", place)
        assert isinstance(done.exception, InputError) and "recipe.toml is a file" in str(done.exception)
