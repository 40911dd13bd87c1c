"""checkpoint.keys_to_skip_loading: what it means, what stays fresh, and what the run says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from video_runs import make_material, run_dir, write_video_spec

from runs import tao, tensors

torch = pytest.importorskip("torch")

from tao_runtime.engine.families import wet_family
from tao_runtime.engine.initialise import initial_values, skipped
from tao_runtime.errors import RunError

FAMILY = "cosmos_predict1"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(FAMILY, tmp_path_factory.mktemp("material"))


def test_keys_mean_upstream_s_names(material: Path) -> None:
    family = wet_family(FAMILY)
    model = family.build(material / "base/transformer", packed=True)
    found = skipped(model, family, ("blocks.block1.blocks.2", "net_ema.", "extra_pos_embedder"))
    assert found == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("transformer_blocks.1.ff.", "transformer_blocks.1.norm3.", "learnable_pos_embed."))
    }
    with pytest.raises(RunError, match="'transformer_blocks' is in no tensor's name, such as net"):
        skipped(model, family, ("transformer_blocks",))


@pytest.mark.parametrize("family", [FAMILY, "cosmos3_vision", "cosmos3_reasoner"])
def test_fresh_values_are_those_of_a_new_network(family: str, material: Path, demo_material: Path, tmp_path) -> None:
    """The same distribution as the library's own: ones stay ones, and matrices have its spread, on every launch."""
    folder = {FAMILY: material / "base/transformer", "cosmos3_reasoner": demo_material / "model"}.get(family)
    if folder is None:
        folder = make_material(family, tmp_path) / "base/transformer"

    def build():
        return wet_family(family).build(folder, packed=True)

    built = build()
    want = {name: value.detach() for name, value in built.named_parameters()}
    got = dict(initial_values(build, want.keys(), seed=1))
    again = dict(initial_values(build, want.keys(), seed=1))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], again[name]) for name in got)
    for name, value in want.items():
        if value.numel() > 1000 and float(value.std()) > 0:
            assert float(got[name].std()) == pytest.approx(float(value.std()), rel=0.2), name
        elif float(value.std()) == 0:
            assert torch.equal(got[name], value), name


def test_a_run_lists_what_it_did_not_load(material: Path, tmp_path: Path) -> None:
    """Only the last layer is trained, and a frozen block is fresh: from the commit it is exported as it began."""
    keys = {"checkpoint__keys_to_skip_loading": ["blocks.block1.blocks.2", "net_ema."]}
    trained = {"optimizer__keys_to_select": ["final_layer"], "trainer__max_iter": 2}
    spec = write_video_spec(material, tmp_path, **keys, **trained)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    gates = {gate["gate"]: gate for gate in json.loads((run_dir(tmp_path) / "run.json").read_text())["gates"]}
    listed = gates["base-weights"]["detail"]["skipped"]
    assert listed and all(
        name.startswith(("transformer_blocks.1.ff.", "transformer_blocks.1.norm3.")) for name in listed
    )
    base, ended = (
        tensors(folder / "transformer") for folder in (material / "base", run_dir(tmp_path) / "export/model")
    )
    changed = {name for name in base if not torch.equal(base[name], ended[name])}
    assert set(listed) <= changed and all(
        name in listed or name.startswith(("norm_out", "proj_out")) for name in changed
    )
    tao("export", str(run_dir(tmp_path)), "--out", str(tmp_path / "out"), cwd=tmp_path)
    exported = tensors(tmp_path / "out/transformer")
    assert all(torch.equal(exported[name], value) for name, value in ended.items())
