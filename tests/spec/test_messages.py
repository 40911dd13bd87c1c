"""The words of a refusal: where, saw, want, fix, all at once and without jargon."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs import TRAIN, refused, write

CASES = {
    "epoch: 3": "error[spec/unknown-key] epoch (F line 3): a key that does not exist; want a key of a train spec. "
    "Fix: use train.epoch or num_epochs",
    "train: {optm_lrr: 3}": "error[spec/unknown-key] train.optm_lrr (F line 3): a key that does not exist; "
    "want a key of train. Fix: use train.optm_lr",
    "trian: {epoch: 3, compile: true}": "error[spec/unknown-key] trian (F line 3): a key that does not exist; "
    "want a key of a train spec. Fix: use train",
    "policy: {fps: 2}": "error[spec/unknown-key] policy.fps (F line 3): a key that does not exist; want a key "
    "of policy. "
    "Fix: use custom.vision.fps",
    "zzz: 1": "error[spec/unknown-key] zzz (F line 3): a key that does not exist; want a key of a train spec. "
    "Fix: remove it",
    'train: {epoch: "3"}': 'error[spec/type] train.epoch (F line 3): the text "3"; want a whole number >= 1. '
    "Fix: write 3 without quotes",
    "train: {epoch: 2.5}": "error[spec/type] train.epoch (F line 3): 2.5; want a whole number >= 1.",
    "train: {epoch: true}": "error[spec/type] train.epoch (F line 3): true; want a whole number >= 1.",
    "train: {epoch: 0}": "error[spec/bounds] train.epoch (F line 3): 0; want a whole number >= 1.",
    "train: {compile: no}": "error[spec/type] train.compile (F line 3): the text no; want true or false. Fix: "
    "write false",
    "train: {optm_lr: .nan}": "error[spec/bounds] train.optm_lr (F line 3): nan; want a number >= 0, "
    "or a list of 2 to 4 values, each a number >= 0.",
    "train: {optm_lr: [1.0]}": "error[spec/bounds] train.optm_lr (F line 3): the list [1.0]; want a number >= 0, "
    "or a list of 2 to 4 values, each a number >= 0.",
    "train: {optm_betas: [0.9, 1]}": "error[spec/bounds] train.optm_betas (F line 3): the list [0.9, 1]; "
    "want a list of 2 values, each a number from 0 to 1, 1 excluded.",
    "train: {ckpt: {save_mode: Sync}}": "error[spec/choice] train.ckpt.save_mode (F line 3): the text Sync; "
    "want one of async, sync. Fix: set it to sync",
    "train: 5": "error[spec/type] train (F line 3): 5; want a table of keys.",
    "train:": "error[spec/type] train (F line 3): null; want a table of keys.",
    "redis: 12800": 'error[spec/type] redis (F line 3): 12800; want a text. Fix: quote it: "12800"',
    "logging: {logger: wandb}": "error[spec/type] logging.logger (F line 3): the text wandb; "
    "want a list of values, each one of console, tao, wandb, tensorboard. Fix: write [wandb]",
    'policy: {model_name_or_path: ""}': "error[spec/bounds] policy.model_name_or_path (F line 3): "
    'the text ""; want a text that is not empty.',
    "policy: {parallelism: {dp_shard_size: 0}}": "error[spec/bounds] policy.parallelism.dp_shard_size (F line 3): 0; "
    "want -1, or a whole number >= 1.",
    "policy: {lora: {init_lora_weights: pisa}}": "error[spec/bounds] policy.lora.init_lora_weights (F line 3): "
    "the text pisa; want true or false, or a text: gaussian, eva, olora, pissa, pissa_niter_N.",
    "policy: {lora: {r_pattern: {visual: 1.5}}}": "error[spec/type] policy.lora.r_pattern.visual (F line 3): "
    "1.5; want a table of a whole number >= 1 by name, or null.",
    "learning_rate: fast": "error[spec/type] learning_rate (F line 3): the text fast; want a number >= 0, "
    "or a list of 2 to 4 values, each a number >= 0.",
    "custom.val_dataset: {media_path: m}": "error[spec/missing] custom.val_dataset.annotation_path (F line 3): "
    "no value; "
    "want a text that is not empty. Fix: set it in the file, or add custom.val_dataset.annotation_path=VALUE to "
    "the command",
    "policy:\n  model_name_or_path: ???": "error[spec/missing] policy.model_name_or_path (F line 4): ??? (no "
    "value yet); "
    "want a value. Fix: set it in the file, or add policy.model_name_or_path=VALUE to the command",
    "learning_rate: 1\ntrain: {optm_lr: 2}": "error[spec/duplicate-key] train.optm_lr (F line 4): given more "
    "than once: "
    "learning_rate (line 3) and train.optm_lr (line 4); want one value. Fix: keep one of them",
    "train: {epoch: 1, epoch: 2}": "error[spec/duplicate-key] train.epoch (F line 3): given more than once: "
    "train.epoch (line 3) and train.epoch (line 3); want one value. Fix: keep one of them",
    "policy.lora.r: 2\npolicy: {lora: null}": "error[spec/duplicate-key] policy.lora (F line 4): given more than once: "
    "policy.lora.r (line 3) and policy.lora (line 4); want one value. Fix: keep one of them",
    "custom_script: ${oc.env:TAO_RUN_NOT_SET}": "error[spec/variable] custom_script (F line 3): the environment has no "
    "TAO_RUN_NOT_SET; want a variable that is set. Fix: export TAO_RUN_NOT_SET, or write "
    "${oc.env:TAO_RUN_NOT_SET,DEFAULT}",
    "custom_script: ${train.epoch}": "error[spec/variable] custom_script (F line 3): ${train.epoch}; "
    "want ${oc.env:NAME}, ${oc.env:NAME,default} or ${now:FORMAT}. Fix: write the value itself",
    "custom_script: a/${oc.env:HF_TOKEN}": "error[spec/secret] custom_script (F line 3): ${oc.env:HF_TOKEN}; "
    "want no secret, because specs are written to disk. "
    "Fix: remove it; credentials are read from the environment where they are needed",
}


@pytest.mark.parametrize("text", CASES)
def test_wording(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, TRAIN + text + "\n")
    assert [finding.render().replace(str(path), "F") for finding in refused(path)] == [CASES[text]]


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "trian: {}\ntrain: {epoch: x, epsilon: 0}\nredis: 1\n")
    rules = sorted(finding.rule for finding in refused(path, "train.compile=maybe"))
    assert rules == [
        "spec/bounds",
        "spec/missing",
        "spec/missing",
        "spec/type",
        "spec/type",
        "spec/type",
        "spec/unknown-key",
    ]


def test_required_keys_are_named_in_full(tmp_path: Path) -> None:
    findings = refused(write(tmp_path, "train: {epoch: 1}\n"))
    assert {finding.where for finding in findings} == {"results_dir", "custom.train_dataset.annotation_path"}


def test_an_override_is_blamed_on_the_command_line(tmp_path: Path) -> None:
    (finding,) = refused(write(tmp_path, TRAIN), "train.epoch=x")
    assert (finding.file, finding.pointer) == ("command line", None)


def test_a_patch_is_what_a_machine_can_apply(tmp_path: Path) -> None:
    path = write(tmp_path, TRAIN + 'train: {epoch: "3", compile: off, save_mode: 1}\nvalidation: {batch_size: 2.0}\n')
    patches = {finding.where: finding.fix.patch for finding in refused(path) if finding.fix}
    assert patches["train.epoch"] == {"train.epoch": 3}
    assert patches["train.compile"] == {"train.compile": False}
    assert patches["validation.batch_size"] == {"validation.batch_size": 2}


def test_a_secret_never_reaches_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hunter2")
    findings = refused(write(tmp_path, TRAIN + "custom_script: ${oc.env:MY_API_KEY}\n"))
    assert "hunter2" not in "".join(finding.render() for finding in findings)
