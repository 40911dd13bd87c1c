"""A spec loads as it was written, from any format, and every mistake in it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specs import FILLED, TRAIN, refused, write
from tao_runtime.errors import InputError
from tao_runtime.spec.load import dump_spec, load_spec


def test_smallest_spec_has_the_documented_defaults(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, TRAIN))
    assert (spec.family, spec.action) == ("cosmos_reason", "train")
    assert (spec.train.train_batch_per_replica, spec.train.train_policy.mini_batch) == (32, 4)
    assert (spec.custom.vision.fps, spec.custom.vision.nframes) == (None, 8)
    assert spec.policy.lora is None and spec.policy.model_max_length == 40960
    assert spec.output_dir() == "out" and spec.models()[0].location == "nvidia/Cosmos-Reason2-8B"


@pytest.mark.parametrize("action", FILLED)
def test_dump_is_read_back_to_the_same_value(tmp_path: Path, action: str) -> None:
    spec = load_spec(write(tmp_path, "{}"), FILLED[action], action=action)
    again = load_spec(write(tmp_path, dump_spec(spec), "again.yaml"), action=action)
    assert again == spec and again.sha256 == spec.sha256


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = TRAIN + "train: {optm_lr: 1e-6, epsilon: 1E-8, epoch: 007}\nlogging: {project_name: no, group_name: on}\n"
    spec = load_spec(write(tmp_path, text))
    assert (spec.train.optm_lr, spec.train.epsilon, spec.train.epoch) == (1e-6, 1e-8, 7)
    assert (spec.logging.project_name, spec.logging.group_name) == ("no", "on")


def test_fps_alone_takes_the_default_frame_count_back(tmp_path: Path) -> None:
    vision = load_spec(write(tmp_path, TRAIN), ["custom.vision.fps=2"]).custom.vision
    assert (vision.fps, vision.nframes) == (2.0, None)
    both = load_spec(write(tmp_path, TRAIN), ["custom.vision.fps=2", "custom.vision.nframes=8"]).custom.vision
    assert (both.fps, both.nframes) == (2.0, 8)


def test_shorthand_dotted_and_nested_keys_mean_the_same(tmp_path: Path) -> None:
    short = TRAIN + "learning_rate: 2e-5\nbatch_size: 8\npolicy.lora.r: 16\n"
    long = TRAIN + "train: {optm_lr: 2.0e-5, train_batch_per_replica: 8}\npolicy: {lora: {r: 16}}\n"
    paths = write(tmp_path, short, "short.yaml"), write(tmp_path, long, "long.yaml")
    assert load_spec(paths[0]).sha256 == load_spec(paths[1]).sha256


def test_evaluate_is_the_same_flat_and_nested(tmp_path: Path) -> None:
    flat = "results_dir: out\ndataset: {annotation_path: a}\nvision: {fps: 1}\n"
    nested = "results_dir: out\nevaluate: {dataset: {annotation_path: a}, vision: {fps: 1}}\n"
    first, second = (load_spec(write(tmp_path, text)) for text in (flat, nested))
    assert first.action == "evaluate" and first.sha256 == second.sha256


def test_names_with_dots_inside_free_tables(tmp_path: Path) -> None:
    path = write(tmp_path, TRAIN + "policy: {lora: {r_pattern: {'visual\\..*': 4}}}\n")
    spec = load_spec(path, ["policy.lora.r_pattern.attn.qkv=2", "policy.trainable_map.model.visual=false"])
    assert spec.policy.lora.r_pattern == {"visual\\..*": 4, "attn.qkv": 2}
    assert spec.policy.trainable_map == {"model.visual": False}


@pytest.mark.parametrize(
    ("overrides", "want"),
    [
        ([], None),
        (["policy.lora={}"], 8),
        (["policy.lora.r=4"], 4),
        (["policy.lora.r=4", "policy.lora={}"], 4),
        (["policy.lora={r: 4}", "policy.lora.r=2"], 2),
        (["policy.lora.r=4", "policy.lora=null"], None),
        (["policy.lora=null", "policy.lora.r=4"], 4),
    ],
)
def test_overrides_merge_tables_and_null_switches_off(tmp_path: Path, overrides: list[str], want: int | None) -> None:
    lora = load_spec(write(tmp_path, TRAIN), overrides).policy.lora
    assert (lora.r if lora else None) == want


@pytest.mark.parametrize(
    ("override", "key", "want"),
    [
        ("redis=12800", "redis", "12800"),
        ("custom.system_prompt=[video] what: is it", "custom.system_prompt", "[video] what: is it"),
        ("custom.system_prompt='a b'", "custom.system_prompt", "a b"),
        ("train.resume=true", "train.resume", True),
        ("train.resume=runs/1", "train.resume", "runs/1"),
        ("train.optm_lr=[1e-5, 2e-6]", "train.optm_lr", (1e-5, 2e-6)),
        ("train.max_num_steps=null", "train.max_num_steps", None),
        ("custom.system_prompt=null", "custom.system_prompt", "null"),
    ],
)
def test_overrides_take_the_type_of_their_key(tmp_path: Path, override: str, key: str, want: object) -> None:
    value: object = load_spec(write(tmp_path, TRAIN), [override])
    for name in key.split("."):
        value = getattr(value, name)
    assert value == want


@pytest.mark.parametrize("override", ["epoch", "=3", "train..epoch=3", "train.=3", "train.optm_betas=[0.9", "a b=1"])
def test_malformed_override(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError):
        load_spec(write(tmp_path, TRAIN), [override])


def test_calibration_dataset_of_the_older_guide_is_accepted(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, "results_dir: out\ncalibration_dataset: {annotation_path: a}\n"))
    assert spec.action == "quantize" and spec.datasets()[0].label == "calibration"


def test_the_action_is_asked_for_when_keys_do_not_tell(tmp_path: Path) -> None:
    (finding,) = refused(write(tmp_path, "results_dir: out\n"))
    assert finding.rule == "spec/action" and "train or evaluate or quantize or inference" in finding.saw


def test_a_spec_of_another_action_is_one_finding(tmp_path: Path) -> None:
    (finding,) = refused(write(tmp_path, TRAIN), action="evaluate")
    assert (finding.rule, finding.saw) == ("spec/action", "the keys of a spec of action train")


def test_unknown_family_and_action(tmp_path: Path) -> None:
    path = write(tmp_path, TRAIN)
    with pytest.raises(InputError, match="action fly: does not exist; want one of evaluate, inference"):
        load_spec(path, action="fly")
    with pytest.raises(InputError, match="family x: does not exist; want one of cosmos_reason"):
        load_spec(path, family="x")


def test_datasets_name_the_keys_that_a_user_can_change(tmp_path: Path) -> None:
    spec = load_spec(
        write(tmp_path, TRAIN), ["custom.val_dataset.annotation_path=v", "custom.val_dataset.media_root=m"]
    )
    train, val = spec.datasets()
    assert (train.label, train.annotation, train.media) == ("train", "data", "")
    assert (val.label, val.media, val.media_key) == ("val", "m", "custom.val_dataset.media_root")


def test_upstream_template_of_the_evaluator_loads(tmp_path: Path) -> None:
    tree = {
        "results_dir": "out",
        "evaluate": {
            "task": {"type": "its_directionality"},
            "dataset": {"annotation_path": "a.json", "media_dir": ""},
            "model": {"model_name": "org/name", "save_folder": "zero_shot", "tokenizer_model_name": "x", "tp_size": 1},
            "evaluation": {"num_processes": 40, "limit": -1, "soft_accuracy": {"enabled": True, "f1_threshold": 0.8}},
            "metrics": {"names": ["bleu", "rouge", "bertscore"], "bertscore_lang": "en"},
            "num_gpus": 1,
        },
    }
    spec = load_spec(write(tmp_path, json.dumps(tree), "spec.json"))
    assert spec.output_dir() == "out/zero_shot" and spec.metrics.names == ("bleu", "rouge", "bertscore")


def test_json_s_two_halves_of_a_character_are_one() -> None:
    """JSON is YAML, but for its escapes beyond 16 bits; half of one is no character."""
    from tao_runtime.spec.scalar import YamlError, parse_value

    assert parse_value(json.dumps(["a\N{GRINNING FACE}b"])) == ["a\N{GRINNING FACE}b"]
    with pytest.raises(YamlError, match="half of a surrogate pair"):
        parse_value('"\\ud800x"')
