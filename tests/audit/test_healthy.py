"""What the libraries themselves write passes without a finding; so does what our own runs write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import runs
from tao_runtime.audit import audit
from tao_runtime.audit.report import AuditReport, Part
from tao_runtime.engine.trial.run import probe_report


def healthy(path: Path, **options: Any) -> AuditReport:
    report = audit(path, **{"values": True, **options})
    assert report.findings == () and report.parts, report.render()
    return report


def part(report: AuditReport, path: str = "") -> Part:
    return next(part for part in report.parts if part.path == path)


@pytest.fixture
def network(demo_material: Path) -> Any:
    """The demo's model as transformers loads it: it sees and reads."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(demo_material / "model")


def move(model: torch.nn.Module) -> None:
    """Change every trainable parameter, as training does."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.01)


ADAPTERS = {
    "list": {"target_modules": ["q_proj", "v_proj"]},
    "all-linear": {"target_modules": "all-linear", "use_rslora": True},
    "pattern": {"target_modules": r".*language_model.*\.(q_proj|k_proj|gate_proj)"},
    "patterns of rank": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 4}},
    "dora": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "layers": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded": {"target_modules": ["qkv", "q_proj"], "exclude_modules": r".*blocks\.1.*"},
    "embedding": {"target_modules": ["embed_tokens", "o_proj"]},
    "bias": {"target_modules": ["qkv"], "bias": "lora_only"},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["merger"]},
    "a convolution": {"target_modules": ["patch_embed.proj", "q_proj"]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_of_peft(name: str, network: Any, demo_material: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(network, LoraConfig(r=8, **ADAPTERS[name]))
    move(tuned)
    tuned.save_pretrained(tmp_path)
    for base in (None, demo_material / "model"):
        assert part(healthy(tmp_path, base=base)).rank == 8


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_peft_that_is_no_lora(network: Any, tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model

    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    get_peft_model(network, config).save_pretrained(tmp_path)
    assert part(healthy(tmp_path)).model_type == "IA3"


@pytest.mark.parametrize("size", ["5GB", "300KB"])
def test_a_model_of_transformers_in_one_file_and_in_shards(
    size: str, network: Any, demo_material: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from tao_runtime.engine.export.layout import carry

    base = demo_material / "model"
    for parameter in network.model.visual.parameters():
        parameter.requires_grad_(False)
    move(network)
    network.save_pretrained(tmp_path, max_shard_size=size)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    carry(base, tmp_path)
    assert (size == "5GB") == (tmp_path / "model.safetensors").is_file()
    healthy(tmp_path)
    report = healthy(tmp_path, base=base, expect_unchanged=["visual"], expect_changed=["language_model"])
    states = {tower.name: tower.state for tower in part(report).towers}
    assert states == {"language_model": "changed", "visual": "unchanged"}


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64, "intermediate_size": 48}


def architectures() -> dict[str, Any]:
    import transformers as t

    return {
        "tied": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SMALL, tie_word_embeddings=True)),
        "untied": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SMALL, tie_word_embeddings=False)),
        "half": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SMALL)).to(torch.bfloat16),
        "experts": lambda: t.Qwen3MoeForCausalLM(
            t.Qwen3MoeConfig(**SMALL, num_key_value_heads=2, num_experts=4, moe_intermediate_size=16, head_dim=16)
        ),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64)),
        "t5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2, vocab_size=64)
        ),
        "encoder": lambda: t.BertModel(t.BertConfig(**SMALL)),
        "vision": lambda: t.SiglipVisionModel(
            t.SiglipVisionConfig(**{k: v for k, v in SMALL.items() if k != "vocab_size"}, image_size=32, patch_size=16)
        ),
    }


@pytest.mark.parametrize("name", architectures())
def test_architectures_of_transformers(name: str, demo_material: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    architectures()[name]().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(demo_material / "model").save_pretrained(tmp_path)
    healthy(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_the_trainer(demo_material: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, Trainer, TrainingArguments

    model = architectures()["untied"]()
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}] * 4
    arguments = TrainingArguments(tmp_path, max_steps=2, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
    tokenizer = AutoTokenizer.from_pretrained(demo_material / "model")
    Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train()
    report = healthy(tmp_path)
    assert {part.path for part in report.parts} == {"checkpoint-1", "checkpoint-2"}
    assert any("optimizer.pt" in part.pickles for part in report.parts)


def test_what_accelerate_writes(tmp_path: Path) -> None:
    from accelerate import Accelerator

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    model(torch.randn(2, 64)).sum().backward()
    optimizer.step()
    accelerator.save_model(model, tmp_path / "one")
    accelerator.save_model(model, tmp_path / "shards", max_shard_size="17KB")
    accelerator.save_state(tmp_path / "state")
    report = healthy(tmp_path)
    assert {part.path for part in report.parts if part.tensors == 4} == {"one", "shards", "state"}
    digests = {part.towers for part in report.parts if part.tensors}
    assert len(digests) == 1, "a tower's digest depends on how the model is cut"


def test_a_pipeline_of_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    report = healthy(tmp_path)
    assert [part.path for part in report.parts] == ["", "unet"]
    assert part(report).model_type == "DDPMPipeline"


def test_a_text_to_image_pipeline_of_diffusers_and_its_adapter(demo_material: Path, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=CLIPTextModel(CLIPTextConfig(**SMALL)),
        tokenizer=AutoTokenizer.from_pretrained(demo_material / "model"), scheduler=diffusers.DDIMScheduler(),
        safety_checker=None, feature_extractor=None,
    )  # fmt: skip
    pipe.save_pretrained(tmp_path / "pipe")
    healthy(tmp_path / "pipe")
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"]))
    move(unet)
    layers = get_peft_model_state_dict(unet)
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)
    assert part(healthy(tmp_path / "lora")).rank == 4


def test_a_transformer_and_a_codec_of_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    model = diffusers.CosmosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, text_embed_dim=32, adaln_lora_dim=4,
        max_size=(4, 8, 8), in_channels=4, out_channels=4,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "transformer", max_shard_size="100KB")
    diffusers.AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).save_pretrained(
        tmp_path / "vae"
    )
    report = healthy(tmp_path)
    assert {part.path for part in report.parts} == {"transformer", "vae"}
    assert len(list((tmp_path / "transformer").glob("*.safetensors"))) > 1


@pytest.mark.parametrize("lora", [pytest.param(False, marks=pytest.mark.slow), True])
def test_our_own_run(lora: bool, demo_material: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    table = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    changes = {"policy__lora": table} if lora else {"policy__lora": None}
    spec = runs.write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", train__epoch=1, **changes)
    runs.tao("train", "--spec", str(spec), cwd=tmp_path)
    report = healthy(tmp_path / "run", base=demo_material / "model")
    kinds = {part.path: part.kind for part in report.parts}
    assert kinds["export/model"] == "model" and ("export/adapter" in kinds) == lora
    assert all(part.committed for part in report.parts if part.kind == "checkpoint")
    healthy(tmp_path / "run", values=None)
    loaded = probe_report(report, tmp_path / "run", base=demo_material / "model")
    assert loaded.findings == () and all(probe.difference for probe in loaded.probes), loaded.render()
    assert {probe.path for probe in loaded.probes} == ({"export/adapter", "export/model"} if lora else {"export/model"})
