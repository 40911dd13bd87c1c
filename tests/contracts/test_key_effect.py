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
from tao_runtime.plan.make import PLANNERS
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.prepare import Prepared
from tao_runtime.preflight.rule import RULES
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.keys import KeyInfo, iter_keys

SOURCE = Path(tao_runtime.__file__).parent
READERS = (
    "engine",
    "score",
    "data/vision.py",
    "plan/batches.py",
    "plan/schedule.py",
    "plan/ledger.py",
    "plan/identity.py",
)

# Fields of a plan that are for people, or that another field already says: plan field -> why.
TOLD_ONLY = {
    "schema": "names the format",
    "action": "names the plan",
    "spec_sha256": "every key changes it",
    "batch.per_rank": "global_batch says it",
    "batch.accumulation": "micro_batches cuts by micro",
    "batch.data_parallel": "the process group says it",
    "batch.drop_last": "steps.per_epoch says it; part of the identity",
    "steps.epochs": "steps.total says it",
    "steps.limit": "steps.total says it",
    "steps.dropped_per_epoch": "for people",
    "mesh.tp": "refused above 1",
    "mesh.pp": "refused above 1",
    "estimate": "for people and for preflight",
}

# What a key needs around it to mean something; {root} is the project.
NEEDS = {
    "policy.lora.": ["policy.lora={}"],
    "train.train_policy.dataset.test_size": ["custom.val_dataset=null"],
    "train.train_policy.dataloader_drop_last": ["train.train_batch_per_replica=12"],
    "model.base_model_path": ["model.enable_lora=true"],
    "base_model_path": ["enable_lora=true"],
    "train.ckpt.save_freq": ["train.max_num_steps=9"],
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
    "torch_dtype": ["bfloat16", "float16"],  # auto is float32 here
    "media": ["{root}/train/clip_1.mp4"],
}
# Keys with one legal value: nothing can be changed.
FIXED = {"train.train_policy.type"}

ACTIONS = [(family, action) for family, planners in PLANNERS.items() for action in planners]
KEYS = [
    pytest.param(family, action, info, id=f"{action}:{info.path}")
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


def needed(path: str) -> list[str]:
    return [override for prefix, overrides in NEEDS.items() if path.startswith(prefix) for override in overrides]


def other_values(info: KeyInfo, project: Project) -> list[str]:
    """Other legal values of a key, as overrides write them."""
    if info.path in VALUES:
        return [value.replace("{root}", str(project.root)) for value in VALUES[info.path]]
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
            if not any(name == told or name.startswith(told + ".") for told in TOLD_ONLY)}  # fmt: skip


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
def test_every_key_has_an_effect_or_an_answer(project: Project, family: str, action: str, info: KeyInfo) -> None:
    if info.path in FIXED:
        assert len(info.choices) == 1
        return
    base = project.prepare(*needed(info.path), action=action)
    values = other_values(info, project)
    assert values
    for value in values:
        changed = project.prepare(*needed(info.path), f"{info.path}={value}", action=action)
        new = set(answers(changed, info.path)) - set(answers(base, info.path))
        assert new or effective(changed) != effective(base), f"{info.path}={value}: nothing happens"


@pytest.mark.parametrize(("family", "action", "info"), KEYS)
def test_what_is_said_to_have_no_effect_has_none(project: Project, family: str, action: str, info: KeyInfo) -> None:
    if info.path in FIXED:
        return
    for value in other_values(info, project):
        changed = project.prepare(*needed(info.path), f"{info.path}={value}", action=action)
        if any(each.rule.endswith("/no-effect") and each.where == info.path for each in changed.report.findings):
            assert effective(changed) == effective(project.prepare(*needed(info.path), action=action))


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
