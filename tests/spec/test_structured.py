"""The structured dialect: upstream's texts load as they are, bases fill what is left out, and each family is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specs import refused, write
from tao_runtime.errors import InputError
from tao_runtime.spec import cosmos3_reasoner, cosmos3_vision, cosmos_predict1, cosmos_predict2
from tao_runtime.spec.load import dump_spec, load_spec

TRAIN = {module.TrainSpec.family: module.TrainSpec
         for module in (cosmos3_reasoner, cosmos3_vision, cosmos_predict1, cosmos_predict2)}  # fmt: skip
NANO = '[job]\ntask = "vfm"\nexperiment = "vision_sft_nano"\nname = "a"\n'
LLAVA = '[job]\ntask = "vlm"\nexperiment = "pre_exp012_llava_ov"\nname = "a"\n'

# The sections of the reference at a glance, and its texts on interpolation and on the free table, as they are printed.
AT_A_GLANCE = """
[job]                                # run identity + base-config / experiment selector
[model]                              # top-level model knobs
[model.ema]                          # EMA tracking of generation-pathway weights
[model.parallelism]                  # FSDP / context-parallel / CFG-parallel topology
[model.compile]                      # torch.compile knobs
[model.activation_checkpointing]     # AC mode + recompute knobs
[model.tokenizer]                    # VFM only: Wan VAE
[model.backbone]                     # VLM only: backbone HF id + optional safetensors path
[optimizer]                          # AdamW
[optimizer.lr_multipliers]           # optional per-substring lr multipliers
[scheduler]                          # LambdaLinear / LambdaCosine
[trainer]                            # max_iter, grad_accum, logging
[trainer.callbacks.compile_tokenizer]  # VFM only
[trainer.callbacks.grad_clip]        # clip_norm + force_finite
[checkpoint]                         # load_path, save_iter, key-skip blocklist
[dataloader_train]                   # top-level scalars only
[custom]                             # free-form, project-owned escape hatch (opaque to the framework)
"""
INTERPOLATION = """
[checkpoint]
load_path = "${oc.env:BASE_CHECKPOINT_PATH}"

[model.tokenizer]
vae_path = "${oc.env:WAN_VAE_PATH}"
"""
CUSTOM = '[custom]\nyour_custom_files = "custom_value"\n'


def toml(folder: Path, text: str) -> Path:
    return write(folder, text, "spec.toml")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATASET_PATH", "BASE_CHECKPOINT_PATH", "WAN_VAE_PATH", "VIDEOPHYSICS_ROOT", "VLM_SAFETENSORS_PATH",
                 "IMAGINAIRE_OUTPUT_ROOT", "OUTPUT_ROOT"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def test_the_sections_at_a_glance_load(tmp_path: Path) -> None:
    spec = load_spec(toml(tmp_path, AT_A_GLANCE), ["dataloader_train.dataset_path=d"])
    assert isinstance(spec, cosmos3_vision.TrainSpec)
    defaults = {"model.max_num_tokens_after_packing": 13312, "optimizer.lr": 2e-4, "optimizer.betas": (0.9, 0.99),
                "scheduler.cycle_lengths": (20000,), "scheduler.warm_up_steps": (100,), "trainer.max_iter": 500,
                "trainer.logging_iter": 50, "model.lora_alpha": 32, "model.ema.rate": 0.1, "checkpoint.save_iter": 100,
                "trainer.callbacks.grad_clip.force_finite": True, "model.activation_checkpointing.mode": "full",
                "model.parallelism.data_parallel_shard_degree": -1, "dataloader_train.seed": 42}  # fmt: skip
    for key, want in defaults.items():
        value: object = spec
        for name in key.split("."):
            value = getattr(value, name)
        assert value == want, key


@pytest.mark.parametrize("exported", [False, True])
def test_the_texts_of_the_reference_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: bool) -> None:
    if exported:
        monkeypatch.setenv("BASE_CHECKPOINT_PATH", "mine")
    spec = load_spec(toml(tmp_path, NANO + INTERPOLATION + CUSTOM))
    assert spec.checkpoint.load_path == ("mine" if exported else "examples/checkpoints/Cosmos3-Nano")
    assert spec.model.tokenizer.vae_path == "examples/checkpoints/wan22_vae/Wan2.2_VAE.pth"
    assert spec.custom == {"your_custom_files": "custom_value"}


def test_the_free_table_is_kept_as_it_stands(tmp_path: Path) -> None:
    text = (
        NANO
        + '[custom]\nwhen = 2024-05-01\nx = "${oc.env:NOT_SET}"\n"a.b" = "???"\n[[custom.items]]\nn = 1\n[custom.t.u]\n'
    )
    spec = load_spec(toml(tmp_path, text), ["custom.t.u.v=[1]"])
    assert str(spec.custom.pop("when")) == "2024-05-01"
    assert spec.custom == {"x": "${oc.env:NOT_SET}", "a.b": "???", "items": [{"n": 1}], "t": {"u": {"v": [1]}}}


def test_a_base_fills_what_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    spec = load_spec(
        toml(tmp_path, NANO.replace("nano", "super") + "[model.parallelism]\ncontext_parallel_shard_degree = 4\n")
    )
    assert (spec.model.size, spec.model.parallelism.context_parallel_shard_degree) == ("super", 4)
    assert (spec.optimizer.lr, spec.scheduler.name) == (5e-4, "lambdacosine")  # upstream's Python, not its table
    assert load_spec(toml(tmp_path, NANO + "[optimizer]\nlr = 1e-4\n")).optimizer.lr == 1e-4


def test_question_marks_fall_through_to_the_base_and_are_refused_without_one(tmp_path: Path) -> None:
    assert load_spec(toml(tmp_path, LLAVA + '[checkpoint]\nload_path = "???"\n')).checkpoint.load_path == ""
    (finding,) = refused(toml(tmp_path, '[job]\ntask = "vfm"\n[dataloader_train]\ndataset_path = "???"\n'))
    assert (finding.rule, finding.where) == ("spec/missing", "dataloader_train.dataset_path")


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('[job]\ntask = "vlm"\n', "cosmos3_reasoner"),
        ('[job]\ntask = "vfm"\n', "cosmos3_vision"),
        ("[optimizer]\nlr = 1e-4\n[trainer]\nmax_iter = 3\n", "cosmos3_vision"),  # upstream's default task
        ('[job]\nexperiment = "text2world_14b_example_cosmos_nemo_assets"\n', "cosmos_predict1"),
        ('[job]\nexperiment = "predict2_video2world_training_2b_custom_data"\n', "cosmos_predict2"),
        ('[job]\ntask = "video2world"\n', "cosmos_predict2"),
    ],
)
def test_task_or_experiment_says_which_family(tmp_path: Path, text: str, family: str) -> None:
    overrides = ["dataloader_train.dataset_path=d"] if family.startswith("cosmos3") else [
        "dataloader_train.dataset_dir=d", "dataloader_train.num_frames=17"]  # fmt: skip
    assert load_spec(toml(tmp_path, text), overrides, action="train").family == family


@pytest.mark.parametrize(
    ("text", "where", "near"),
    [
        (NANO.replace("nano", "nanno"), "job.experiment", "vision_sft_nano"),
        ('[job]\nexperiment = "text2world_7b_exmple_cosmos_nemo_assets"\n', "job.experiment", "text2world_7b_example"),
        ('[job]\ntask = "vfn"\n', "job.task", "vfm"),
        (NANO + "[optimizer]\nlearning_rate = 1\n", "optimizer.learning_rate", ""),
    ],
)
def test_what_does_not_exist_is_named_with_what_is_near(tmp_path: Path, text: str, where: str, near: str) -> None:
    found = refused(toml(tmp_path, text), "dataloader_train.dataset_path=d", action="train")
    (finding,) = [finding for finding in found if finding.where == where]
    assert near in (finding.fix.text if finding.fix else "") and finding.severity == "error"


def test_the_clock_is_read_once_and_names_a_run_without_a_name(tmp_path: Path) -> None:
    text = NANO.replace('"a"', '"${now:%Y-%m-%d}_${now:%H-%M-%S}"')
    first, second = load_spec(toml(tmp_path, text)), load_spec(toml(tmp_path, NANO.replace('"a"', '""')))
    assert re.fullmatch(r"outputs/train/cosmos3/sft/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", first.output_dir())
    assert first.output_dir() == second.output_dir() and first.sha256 == second.sha256


@pytest.mark.parametrize(
    ("family", "variable", "root"),
    [("cosmos3_vision", "IMAGINAIRE_OUTPUT_ROOT", "outputs/train"), ("cosmos_predict1", "OUTPUT_ROOT", "checkpoints"),
     ("cosmos_predict2", "IMAGINAIRE_OUTPUT_ROOT", "checkpoints")],
)  # fmt: skip
def test_runs_lie_under_the_root_of_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str,
                                                 variable: str, root: str) -> None:  # fmt: skip
    experiment = next(iter(TRAIN[family].experiments))
    path = toml(tmp_path, f'[job]\nexperiment = "{experiment}"\n')
    job = load_spec(path).job
    assert load_spec(path).output_dir() == f"{root}/{job.project}/{job.group}/{job.name}"
    monkeypatch.setenv(variable, "elsewhere")
    assert load_spec(path).output_dir() == f"elsewhere/{job.project}/{job.group}/{job.name}"


def test_names_of_upstreams_command_line_are_understood(tmp_path: Path) -> None:
    tail = ["--", "model.config.policy.backbone.model_name=Qwen/other", "data_setting.max_tokens=8000"]
    spec = load_spec(toml(tmp_path, LLAVA), tail)
    assert (spec.model.backbone.model_name, spec.dataloader_train.max_sequence_length) == ("Qwen/other", 8000)
    base = toml(tmp_path, '[job]\nexperiment = "predict2_video2world_training_2b_custom_data"\n')
    lora = load_spec(base, ["model.config.train_architecture=lora", "model_parallel.context_parallel_size=4"])
    assert lora.model.train_architecture == "lora"
    assert lora.model.parallelism.context_parallel_shard_degree == 4
    with pytest.raises(InputError, match="not of the form key"):
        load_spec(base, ["-- a=1"])


def test_a_secret_is_refused(tmp_path: Path) -> None:
    (finding,) = refused(toml(tmp_path, NANO + '[checkpoint]\nload_path = "${oc.env:HF_TOKEN}"\n'))
    assert finding.rule == "spec/secret"


@pytest.mark.parametrize("family", TRAIN)
def test_every_base_names_keys_that_exist_and_loads(tmp_path: Path, family: str) -> None:
    spec = TRAIN[family]
    named = spec.model_fields["job"].annotation.model_fields["experiment"].annotation
    assert set(named.__args__) == {"", *spec.experiments}
    for experiment in spec.experiments:
        loaded = load_spec(toml(tmp_path, f'[job]\nexperiment = "{experiment}"\n'))
        assert (loaded.family, loaded.job.experiment) == (family, experiment)
        again = load_spec(write(tmp_path, dump_spec(loaded)), action="train")
        assert again == loaded
