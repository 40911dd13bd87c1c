"""Every shipped recipe loads as its spec, and plans on the processes that its guide names, without data or a GPU."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tao_runtime.plan.model import TrainPlan
from tao_runtime.plan.schedule import lr_factor
from tao_runtime.preflight.prepare import Prepared, prepare

SKILLS = Path(__file__).parents[2] / "skills"
RECIPES = sorted(SKILLS.glob("*/assets/recipes/*.toml"))
NEEDS = {"dataset/annotation-unreadable", "structured/asset-missing"}  # what is not on a machine that only plans
LATE = {"llava_ov", "video2world_custom"}  # upstream's warm-up does not end, besides text2world's

# recipe -> processes; (replicas, shards, context) ; latent frames; (LoRA rank, EMA)
WANT = {
    "vision_sft_nano": (8, (1, 8, 1), None, (None, True)),
    "vision_sft_super": (8, (1, 4, 2), None, (16, False)),
    "llava_ov": (8, (1, 8, 1), None, (None, False)),
    "videophy2_sft_nano": (8, (1, 8, 1), None, (None, False)),
    "text2world_7b": (8, (1, 8, 1), 16, (None, True)),
    "text2world_7b_4gpu_80gb": (4, (1, 1, 4), 16, (None, True)),
    "text2world_7b_8gpu_40gb": (8, (1, 8, 1), 5, (None, False)),
    "text2world_7b_4gpu_40gb": (4, (1, 4, 1), 3, (None, False)),
    "text2world_7b_lora": (4, (1, 1, 4), 16, (8, True)),
    "text2world_14b": (32, (1, 2, 16), 16, (None, True)),
    "video2world_2b": (8, (1, 4, 2), 24, (None, True)),
    "video2world_14b": (32, (1, 4, 8), 24, (None, True)),
    "video2world_2b_lora": (8, (1, 4, 2), 24, (16, True)),
    "video2world_14b_lora": (32, (1, 4, 8), 24, (32, True)),
    "video2world_custom": (8, (1, 4, 2), 24, (None, True)),
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No launcher's variables, no token, no cache of models: a machine that only plans."""
    for name in ("DATASET_PATH", "BASE_CHECKPOINT_PATH", "WAN_VAE_PATH", "VIDEOPHYSICS_ROOT", "VLM_SAFETENSORS_PATH",
                 "IMAGINAIRE_OUTPUT_ROOT", "OUTPUT_ROOT", "HF_TOKEN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def prepared(name: str) -> Prepared:
    (path,) = [path for path in RECIPES if path.stem == name]
    return prepare(path, action="train", nproc=WANT[name][0])


def test_every_recipe_is_here() -> None:
    assert {path.stem for path in RECIPES} == set(WANT)


@pytest.mark.parametrize("name", WANT)
def test_a_recipe_plans_on_the_processes_of_its_guide(name: str) -> None:
    world, mesh, latent, (rank, average) = WANT[name]
    found = prepared(name)
    plan = found.plan
    assert isinstance(plan, TrainPlan) and plan.mesh.world == world
    assert (plan.mesh.dp_replicate, plan.mesh.dp_shard, plan.mesh.cp) == mesh
    assert plan.batch.data_parallel == mesh[0] * mesh[1]
    assert (plan.diffusion and plan.diffusion.latent_shape and plan.diffusion.latent_shape[1]) == latent
    assert ((plan.model.lora and plan.model.lora.r), plan.ema is not None) == (rank, average)
    assert plan.data.train.num_records is None and plan.steps.total and plan.output_dir
    assert {finding.rule for finding in found.report.findings if finding.severity == "error"} <= NEEDS


@pytest.mark.parametrize("name", WANT)
def test_a_recipe_says_every_key_that_it_names_as_written(name: str) -> None:
    """What a recipe says is what its spec holds: no base and no default wins over it."""
    (path,) = [path for path in RECIPES if path.stem == name]
    spec = prepared(name).spec

    def walk(tree: dict[str, object], value: object, at: str) -> None:
        for key, want in tree.items():
            got = getattr(value, key)
            if isinstance(want, dict):
                walk(want, got, f"{at}{key}.")
            elif not (isinstance(want, str) and (want == "???" or "${" in want)):
                assert (list(got) if isinstance(got, tuple) else got) == want, f"{at}{key}"

    walk(tomllib.loads(path.read_text()), spec, "")


@pytest.mark.parametrize("name", WANT)
def test_a_warm_up_longer_than_the_run_is_kept_and_named(name: str) -> None:
    found = prepared(name)
    assert isinstance(found.plan, TrainPlan)
    late = name in LATE or (name.startswith("text2world") and not name.endswith("lora"))
    assert late == ("structured/warmup" in {finding.rule for finding in found.report.findings})
    total = found.plan.steps.total
    assert total is not None
    rates = [lr_factor(found.plan.schedule, step) for step in range(total + 10)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert (max(rates[:total]) < found.plan.schedule.cycles[0].peak) == late
