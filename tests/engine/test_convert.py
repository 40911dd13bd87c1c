"""Laws of conversion: every way there and back gives the same bits, and nothing is guessed, dropped or executed."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from video_runs import make_material, run_dir, write_video_spec

from runs import losses, tao, tensors

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

from tao_runtime.audit import audit
from tao_runtime.engine.convert.run import Request, convert
from tao_runtime.errors import FindingsError, InputError

GENERATORS = ("cosmos_predict1", "cosmos_predict2", "cosmos3_vision")


@pytest.fixture(scope="module", params=GENERATORS)
def material(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, make_material(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material("cosmos_predict2", tmp_path_factory.mktemp("predict"))


def weights(folder: Path) -> dict[str, Any]:
    inner = folder / "transformer"
    return tensors(inner if inner.is_dir() else folder)


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


def test_there_and_back(material: tuple[str, Path], tmp_path: Path) -> None:
    family, folder = material
    base = folder / "base"
    convert(Request(base, family, tmp_path / "dcp", to="dcp"))
    assert not weights(tmp_path / "dcp")
    convert(Request(tmp_path / "dcp", family, tmp_path / "back"))
    convert(Request(base, family, tmp_path / "upstream", to="dcp", names="original"))
    convert(Request(tmp_path / "upstream/transformer/model", family, tmp_path / "again", like=base))
    convert(Request(base, family, tmp_path / "named", names="original"))
    assert all(name.startswith("net.") for name in weights(tmp_path / "named"))
    for each in ("back", "again"):
        assert equal(weights(tmp_path / each), weights(base))
        assert audit(tmp_path / each, base=base).ok


def test_a_file_of_upstream(predict: Path, tmp_path: Path) -> None:
    """Live weights or averages are chosen, what is no parameter is named, and what is neither is refused."""
    convert(Request(predict / "base", "cosmos_predict2", tmp_path / "named", names="original"))
    live = weights(tmp_path / "named")
    state = {**live, "net.pos_embedder.seq": torch.arange(9)}
    state |= {name.replace("net.", "net_ema.", 1): value + 1 for name, value in live.items()}
    torch.save({"model": state, "iteration": 7}, tmp_path / "model.pt")
    request = Request(tmp_path / "model.pt", "cosmos_predict2", tmp_path / "out", like=predict / "base")
    convert(request)
    assert equal(weights(tmp_path / "out"), weights(predict / "base"))
    said = json.loads((tmp_path / "out/manifest.json").read_text())["notes"]
    assert any("net.pos_embedder.seq" in note and "88 tensors are left out" in note for note in said)
    ema = Request(tmp_path / "model.pt", "cosmos_predict2", tmp_path / "ema", like=predict / "base", weights="ema")
    convert(ema)
    want = {name: value + 1 for name, value in weights(predict / "base").items()}
    assert equal(weights(tmp_path / "ema"), want)
    lost = state.pop("net.x_embedder.proj.1.weight")
    torch.save({**state, "net.strange.weight": lost}, tmp_path / "model.pt")
    with pytest.raises(FindingsError) as caught:
        convert(Request(tmp_path / "model.pt", "cosmos_predict2", tmp_path / "no", like=predict / "base"))
    said = str(caught.value)
    assert "patch_embed.proj.weight" in said and "net.strange.weight" in said
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".no", "no"))]


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_no_pickle_is_executed(predict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"net.x": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(InputError, match="holds tensors and nothing else"):
        convert(Request(tmp_path / "trap.pt", "cosmos_predict2", tmp_path / "out", like=predict / "base"))
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp/.metadata").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="metadata"):
        convert(Request(tmp_path / "dcp", "cosmos_predict2", tmp_path / "out", like=predict / "base"))
    assert not (tmp_path / "sprung").exists()


def test_shards_of_several_ranks_are_put_together(tmp_path: Path) -> None:
    """What torch's own writer and reader say of the same folder."""
    from torch.distributed.checkpoint import load, save

    from tao_runtime.engine.dcp import DcpFolder

    state = {"a.weight": torch.randn(5, 3), "b": torch.randn(4).to(torch.bfloat16), "c": torch.tensor(3)}
    save(state, checkpoint_id=tmp_path / "one", no_dist=True)
    found = DcpFolder(tmp_path / "one")
    read = {name: torch.zeros_like(value) for name, value in state.items()}
    load(read, checkpoint_id=tmp_path / "one", no_dist=True)
    assert equal({name: found.read(name) for name in found.names}, read)


@pytest.mark.slow
def test_a_base_in_distributed_layout_trains_the_same(predict: Path, tmp_path: Path) -> None:
    convert(Request(predict / "base", "cosmos_predict2", tmp_path / "dcp", to="dcp"))
    runs = {}
    for name, base in (("files", predict / "base"), ("dcp", tmp_path / "dcp")):
        folder = tmp_path / name if name == "files" else tmp_path / "run"
        folder.mkdir()
        spec = write_video_spec(predict, folder, checkpoint__load_path=str(base), trainer__max_iter=2)
        tao("train", "--spec", str(spec), cwd=folder)
        runs[name] = run_dir(folder)
    assert losses(runs["dcp"]) == losses(runs["files"])
    assert equal(weights(runs["dcp"] / "export/model"), weights(runs["files"] / "export/model"))
    tao("export", str(runs["dcp"]), "--out", str(tmp_path / "out"), cwd=tmp_path)
    assert equal(weights(tmp_path / "out"), weights(runs["files"] / "export/model"))


def test_launch_names_the_command_for_upstream_s_files(predict: Path, tmp_path: Path) -> None:
    convert(Request(predict / "base", "cosmos_predict2", tmp_path / "named", names="original"))
    torch.save(weights(tmp_path / "named"), tmp_path / "model.pt")
    spec = write_video_spec(predict, tmp_path, checkpoint__load_path=str(tmp_path / "model.pt"))
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=1)
    assert f"tao-run convert {tmp_path / 'model.pt'} --family cosmos_predict2" in done.stderr


def test_a_tower_from_elsewhere(demo_material: Path, tmp_path: Path) -> None:
    """The language model of a checkpoint of both towers, in upstream's names, on the vision tower of a reasoner."""
    from safetensors.torch import save_file

    reasoner = demo_material / "model"
    ours = tensors(reasoner)
    language = {
        name.replace("model.language_model.", "net.language_model.model."): value + 0.5
        for name, value in ours.items()
        if ".visual." not in name
    }
    generator = {
        name.replace("_proj", "_proj_moe_gen"): value + 1 for name, value in language.items() if "q_proj" in name
    }
    save_file({**language, **generator}, tmp_path / "both.safetensors")
    command = ["convert", str(tmp_path / "both.safetensors"), "--family", "cosmos3_reasoner", "--json"]
    done = tao(*command, "--tower", f"visual={reasoner}", "--out", str(tmp_path / "merged"), cwd=tmp_path)
    merged = tensors(tmp_path / "merged")
    want = {name: value if ".visual." in name else value + 0.5 for name, value in ours.items()}
    assert equal(merged, want)
    manifest = json.loads(done.stdout)
    towers = {tower["name"]: tower for tower in manifest["towers"]}
    assert towers["visual"]["source"] == str(reasoner)
    assert towers["language_model"]["source"] == str(tmp_path / "both.safetensors")
    report = audit(tmp_path / "merged", base=reasoner, expect_unchanged=["visual"], expect_changed=["language_model"])
    assert report.ok
    found = {tower.name: tower.sha256 for part in report.parts for tower in part.towers}
    assert {name: tower["sha256"] for name, tower in towers.items()} == found
    assert any("_moe_gen" in note for note in manifest["notes"])
