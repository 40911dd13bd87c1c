"""No key is a lie: each one, changed to another legal value, changes the plan or is answered by a finding.

A change of the plan counts only in fields that something reads; those that nothing reads are listed here, by hand.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import tao_runtime
from project import Project
from structured import TASKS, StructuredProject
from tao_runtime.plan.make import family_plan
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.prepare import Prepared
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.base import Spec
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.keys import KeyInfo, find, iter_keys
from tao_runtime.spec.structured.spec import StructuredSpec

SOURCE = Path(tao_runtime.__file__).parent
READERS = (
    "engine",
    "score",
    "data/vision.py",
    "plan/batches.py",
    "plan/schedule.py",
    "plan/ledger.py",
    "plan/clip_ledger.py",
    "data/clips.py",
    "plan/identity.py",
)

# Fields of a plan that are for people, or that another field already says: plan field -> why.
TOLD_ONLY = {
    "schema": "names the format",
    "action": "names the plan",
    "spec_sha256": "every key changes it",
    "batch.per_rank": "global_batch says it",
    "batch.drop_last": "steps.per_epoch says it; part of the identity",
    "steps.epochs": "steps.total says it",
    "steps.limit": "steps.total says it",
    "steps.dropped_per_epoch": "for people",
    "mesh.cfg": "refused above 1 where something is trained",
    "mesh.tp": "refused above 1",
    "mesh.pp": "refused above 1",
    "estimate": "for people and for preflight",
    "data.train.dropped": "for people: the ledger has the rest",
    "data.val.dropped": "for people: the ledger has the rest",
    "data.dropped": "for people: the ledger has the rest",
    "calibration.dropped": "for people: the ledger has the rest",
    "diffusion.noise.objective": "one for each family",
    "diffusion.noise.draw": "one for each family",
    "diffusion.noise.sigma_min": "the range of the sampler; what training draws has no end",
    "diffusion.noise.sigma_max": "the range of the sampler; what training draws has no end",
    "diffusion.noise.learned_variance": "one for each family",
    "diffusion.condition.mask_channel": "one for each family",
    "diffusion.text.kind": "one for each family",
}

# What a key needs around it to mean something; {root} is the project.
NEEDS = {
    "policy.lora.": ["policy.lora={}"],
    "train.train_policy.dataset.test_size": ["custom.val_dataset=null"],
    "train.train_policy.dataloader_drop_last": ["train.train_batch_per_replica=12"],
    "model.base_model_path": ["model.enable_lora=true"],
    "base_model_path": ["enable_lora=true"],
    "train.ckpt.save_freq": ["train.max_num_steps=9"],
    "quantize.smoothing_strength": ["quantize.quantization_scheme=W8A8"],
}
# Values that cannot be guessed from the type.
VALUES: dict[str, list[str]] = {
    "results_dir": ["{root}/other"],
    "train.output_dir": ["other"],
    "train.resume": ["false", "{root}/model-twin"],
    "custom.train_dataset.annotation_path": ["{root}/twin"],
    "custom.train_dataset.media_path": ["{root}/twin"],
    "custom.train_dataset.media_root": ["{root}/twin"],
    "custom.val_dataset.annotation_path": ["{root}/twin"],
    "custom.val_dataset.media_path": ["{root}/twin"],
    "custom.val_dataset.media_root": ["{root}/twin"],
    "dataset.annotation_path": ["{root}/twin"],
    "dataset.media_dir": ["{root}/twin"],
    "policy.model_name_or_path": ["{root}/model-twin"],
    "policy.lora.init_lora_weights": ["gaussian", "false", "pissa"],
    "policy.lora.target_modules": ["all-linear", "[o_proj]"],
    "policy.lora.modules_to_save": ["[visual]"],
    "policy.trainable_map": ["{visual: false}"],
    "policy.lora.r_pattern": ["{q_proj: 4}"],
    "policy.lora.alpha_pattern": ["{q_proj: 4}"],
    "train.fsdp_reshard_after_forward": ["always", "never", "true", "false"],
    "train.train_policy.dataset.test_size": ["20", "0.5", "0"],
    "train.optm_lr": ["1e-5", "[1e-5, 1e-6]"],
    "train.optm_betas": ["[0.8, 0.9]"],
    "train.train_policy.conversation_column_name": ["turns"],
    "logging.logger": ["[console]", "[tensorboard]"],
    "metrics.names": ["[bleu]"],
    "model.model_name": ["{root}/model-twin"],
    "model.base_model_path": ["{root}/model-twin"],
    "model.enable_lora": ["true"],
    "model_path": ["{root}/model-twin"],
    "base_model_path": ["{root}/model-twin"],
    "proof.annotation_path": ["{root}/twin"],
    "proof.media_dir": ["{root}/twin"],
    "torch_dtype": ["bfloat16", "float16"],  # auto is float32 here
    "media": ["{root}/train/clip_1.mp4"],
    "prompts": ["[one, two]"],
}
# The same for the structured dialect.
STRUCTURED_NEEDS = {
    "model.lora_rank": ["model.lora_enabled=true"],
    "model.lora_alpha": ["model.lora_enabled=true"],
    "model.lora_target_modules": ["model.lora_enabled=true"],
    "model.ema.": ["model.ema.enabled=true"],
    "model.activation_checkpointing.save_ops_regex": ["model.activation_checkpointing.mode=selective"],
    "dataloader_train.temporal_interval_mode": ["dataloader_train.num_video_frames=9"],
    "dataloader_train.frame_selection": ["dataloader_train.num_video_frames=9"],
    "dataset.temporal_interval_mode": ["dataset.num_video_frames=9"],
    "dataset.frame_selection": ["dataset.num_video_frames=9"],
}
STRUCTURED_VALUES: dict[str, list[str]] = {
    "job.output_root": ["{root}/other"],
    "job.experiment": [],  # a base needs its data: tests/spec/test_structured.py loads each
    "job.task": [],  # it is another family then
    "custom": ["{a: 1}"],
    "checkpoint.load_path": ["{root}/model-twin"],
    "model.path": ["{root}/model-twin"],
    "model.base_path": ["{root}/model-twin"],
    "model.vae_path": ["{root}/vae.pth"],
    "model.text_encoder": ["{root}/model-twin"],
    "model.tokenizer.vae_path": ["{root}/model-twin"],
    "model.backbone.model_name": ["{root}/model-twin"],
    "model.backbone.safetensors_path": ["{root}/model-twin"],
    "model.parallelism.data_parallel_shard_degree": ["1"],
    "model.parallelism.fsdp_group_size": ["1"],
    "model.shift": ["2.0"],
    "model.parallelism.data_parallel_replicate_degree": ["2"],
    "model.ema.rate": ["0.05"],
    "model.lora_target_modules": ["k_proj_moe_gen", "CA.to_k", "k_proj"],
    "optimizer.betas": ["[0.8, 0.9]"],
    "optimizer.lr_multipliers": ["{norm: 2.0}"],
    "optimizer.keys_to_select": ["[norm]"],
    "scheduler.cycle_lengths": ["[400]"],
    "scheduler.warm_up_steps": ["[3]"],
    "scheduler.f_max": ["[0.5]"],
    "scheduler.f_min": ["[0.25]"],
    "scheduler.f_start": ["[0.5]"],
    "trainer.callbacks.compile_tokenizer.warmup_resolutions": ["[256]"],
    "dataloader_train.dataset_path": ["{root}/twin"],
    "dataloader_train.dataset_dir": ["{root}/twin"],
    "dataloader_train.dataset_file": ["train/other.jsonl"],
    "dataloader_train.media_path": ["{root}/twin"],
    "dataset.media_path": ["{root}/twin"],
    "dataloader_train.num_frames": ["9"],
    "dataset.num_frames": ["9"],
    "dataloader_train.video_size": ["[64, 32]"],
    "dataset.video_size": ["[64, 32]"],
    "dataloader_train.conditioning": ['{"0": 1.0}'],
    "dataset.conditioning": ['{"0": 1.0}'],
    "dataset.dataset_path": ["{root}/twin"],
    "dataset.dataset_dir": ["{root}/twin"],
    "dataset.dataset_file": ["train/other.jsonl"],
    "evaluate.text_metrics": ["[bleu]"],
    "inference.size": ["[64, 32]"],
    "inference.prompts": ["[one, two]"],
    "inference.prompt_upsampler_path": ["{root}/model-twin"],
    "inference.media": ["{root}/data/clip_1.mp4"],
}

# Keys with one legal value: nothing can be changed.
FIXED = {"train.train_policy.type"}

ACTIONS = [(family, action) for family in FAMILIES for action in family_plan(family).PLANNERS]
KEYS = [
    pytest.param(family, action, info, id=f"{family}-{action}:{info.path}")
    for family, action in ACTIONS
    for info in iter_keys(FAMILIES[family].actions[action])
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("keys")
    made = Project(root)
    shutil.copytree(made.train, root / "twin")
    shutil.copytree(made.model, root / "model-twin")
    return made


@pytest.fixture(scope="module")
def structured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StructuredProject]:
    root = tmp_path_factory.mktemp("structured")
    return {family: StructuredProject(root / family, family) for family in TASKS}


@pytest.fixture
def place(project: Project, structured: dict[str, StructuredProject], family: str) -> Project | StructuredProject:
    """The project of a test's family."""
    return structured.get(family, project)


def needed(spec: type[Spec], path: str) -> list[str]:
    needs = NEEDS
    if issubclass(spec, StructuredSpec):
        other = find(spec, "model.train_architecture").key is not None  # this family's switch for adapters
        needs = {prefix: ["model.train_architecture=lora"] if other and "lora" in prefix else overrides
                 for prefix, overrides in STRUCTURED_NEEDS.items()}  # fmt: skip
    return [override for prefix, overrides in needs.items() if path.startswith(prefix) for override in overrides]


def other_values(info: KeyInfo, place: Project | StructuredProject) -> list[str]:
    """Other legal values of a key, as overrides write them."""
    known = STRUCTURED_VALUES if isinstance(place, StructuredProject) else VALUES
    if info.path in known:
        return [value.replace("{root}", str(place.root)) for value in known[info.path]]
    if info.choices:
        return [str(choice) for choice in info.choices if choice != info.default]
    guesses: list[Any] = [not info.default] if isinstance(info.default, bool) else [3, 0.25, 1, 700000, "other", ["x"]]
    found = next((guess for guess in guesses if guess != info.default and info.accepts(guess)), None)
    assert found is not None, f"{info.path}: give a value in VALUES"
    return [str(found).lower() if isinstance(found, bool) else str(found)]


def effective(prepared: Prepared) -> dict[str, Any]:
    """The fields of a plan that something reads."""
    assert prepared.plan is not None
    return {name: value for name, value in flatten(prepared.plan.model_dump(mode="json", by_alias=True))
            if not any(name == each or name.startswith(each + ".") for each in TOLD_ONLY)}  # fmt: skip


def flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from flatten(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner


def answers(prepared: Prepared, key: str) -> list[str]:
    """The findings that are about a key."""
    return [finding.render() for finding in prepared.report.findings if finding.where == key]


@pytest.mark.parametrize(("family", "action", "info"), KEYS)
def test_every_key_has_an_effect_or_an_answer(
    place: Project | StructuredProject, family: str, action: str, info: KeyInfo
) -> None:
    if info.path in FIXED:
        assert len(info.choices) == 1
        return
    around = needed(FAMILIES[family].actions[action], info.path)
    base = place.prepare(*around, action=action)
    for value in other_values(info, place):
        changed = place.prepare(*around, f"{info.path}={value}", action=action)
        new = set(answers(changed, info.path)) - set(answers(base, info.path))
        assert new or effective(changed) != effective(base), f"{info.path}={value}: nothing happens"


@pytest.mark.parametrize(("family", "action", "info"), KEYS)
def test_what_is_said_to_have_no_effect_has_none(
    place: Project | StructuredProject, family: str, action: str, info: KeyInfo
) -> None:
    if info.path in FIXED:
        return
    around = needed(FAMILIES[family].actions[action], info.path)
    for value in other_values(info, place):
        changed = place.prepare(*around, f"{info.path}={value}", action=action)
        if any(each.rule.endswith("/no-effect") and each.where == info.path for each in changed.report.findings):
            assert effective(changed) == effective(place.prepare(*around, action=action))


def plan_fields() -> Iterator[str]:
    """Every leaf of every plan, dotted."""
    for model in get_args(Plan):
        yield from leaves(model)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        inner = [item for item in (info.annotation, *get_args(info.annotation))
                 if isinstance(item, type) and issubclass(item, BaseModel)]  # fmt: skip
        if inner:
            yield from leaves(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + (info.alias or name)


def test_every_field_of_a_plan_is_read_or_told() -> None:
    files = chain.from_iterable((SOURCE / reader).rglob("*.py") if (SOURCE / reader).is_dir() else [SOURCE / reader]
                                for reader in READERS)  # fmt: skip
    text = "\n".join(path.read_text() for path in files)
    unread = {field for field in plan_fields() if not re.search(rf"\.{field.rsplit('.', 1)[-1]}\b", text)}
    assert {field for field in unread if not any(field == t or field.startswith(t + ".") for t in TOLD_ONLY)} == set()


def test_rules_about_keys_without_effect_exist_for_every_family() -> None:
    assert {f"{family}/no-effect" for family, _ in ACTIONS} <= set(RULES)
