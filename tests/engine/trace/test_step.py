"""A traced step: resident bytes are those of the estimate, the peak is near it, and what cannot be traced is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tao_runtime.cli.trace import _lines, show_trace
from tao_runtime.data import cosmos3_vision, cosmos_predict1, cosmos_predict2, cosmos_reason
from tao_runtime.engine.trace.report import trace_report
from tao_runtime.engine.trace.step import _told
from tao_runtime.engine.trace.storages import StorageTracker
from tao_runtime.engine.trace.weightless import Weightless
from tao_runtime.errors import RunError
from tao_runtime.plan.make import network_config
from tao_runtime.plan.memory.traced import TraceReport
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.prepare import prepare

RECIPES = {path.stem: path for path in (Path(__file__).parents[3] / "skills").glob("*/assets/recipes/*")}
DIT = {"num_attention_heads": 8, "attention_head_dim": 64, "num_layers": 2, "adaln_lora_dim": 32}
OMNI = {"head_dim": 64, "hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8, "vocab_size": 2048,
        "num_key_value_heads": 2, "num_hidden_layers": 2, "rope_axes_dim": [12, 10, 10]}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [12, 10, 10], "mrope_interleaved": True}


def chat_config() -> dict[str, Any]:
    config = json.loads(json.dumps(cosmos_reason.EIGHT_BILLION))
    config["text_config"] |= {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 3,
                              "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 2048,
                              "rope_parameters": ROPE}  # fmt: skip
    config["vision_config"] |= {"depth": 3, "hidden_size": 288, "intermediate_size": 1076, "num_heads": 4,
                                "out_hidden_size": 512, "deepstack_visual_indexes": [0, 1, 2]}  # fmt: skip
    return config


def base(folder: Path, config: Any) -> Path:
    """A folder of a base that has its configuration and no weights."""
    if "_class_name" in config:
        (folder / "model_index.json").write_text("{}")
        folder = folder / "transformer"
        folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder.parent if "_class_name" in config else folder


def report(name: str, *overrides: str, nproc: int, limit_s: float = 300.0) -> TraceReport:
    prepared = prepare(RECIPES[name], overrides, action="train", nproc=nproc)
    assert isinstance(prepared.plan, TrainPlan)
    config = network_config(prepared.spec, prepared.facts)
    return trace_report(prepared.plan, prepared.facts, config, limit_s=limit_s)


CASES = {
    "text2world_7b_8gpu_40gb": (
        {**cosmos_predict1.NETWORKS["7B"], **DIT},
        ["model.activation_checkpointing.mode=none", "model.ema.enabled=true"],
    ),
    "video2world_2b_lora": (
        {**cosmos_predict2.NETWORKS["2B"], **DIT},
        ["dataloader_train.num_frames=29", "dataloader_train.video_size=[256,256]"],
    ),
    "vision_sft_nano": (
        {**cosmos3_vision.NETWORKS["nano"], **OMNI},
        ["model.max_num_tokens_after_packing=4096", "dataloader_train.max_sequence_length=4096",
         "model.activation_checkpointing.mode=selective"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_a_generator_holds_what_was_estimated(name: str, tmp_path: Path) -> None:
    config, overrides = CASES[name]
    found = report(name, f"checkpoint.load_path={base(tmp_path, config)}", *overrides, nproc=8)
    print(name, found.peak_estimated / found.peak_traced)
    assert found.resident_traced == pytest.approx(found.resident_estimated, rel=0.002, abs=1 << 18)
    assert found.peak_traced == pytest.approx(found.peak_estimated, rel=0.15)
    assert found.total.low < found.total.expected < found.total.high


@pytest.mark.parametrize(("tokens", "accumulation"), [(1500, 1), (64, 1), (1500, 2)])
def test_the_command_prints_a_step_of_a_reasoner_with_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokens: int, accumulation: int
) -> None:
    folder = base(tmp_path, chat_config())
    changes = [f"model.backbone.model_name={folder}", "checkpoint.load_path="]
    changes += [f"dataloader_train.max_sequence_length={tokens}", f"trainer.grad_accum_iter={accumulation}"]
    assert show_trace(RECIPES["llava_ov"], changes, nproc=8, limit_s=300.0, as_json=True) == 0
    found = TraceReport.model_validate_json(capsys.readouterr().out)
    print(found.peak_estimated / found.peak_traced)
    assert found.resident_traced == pytest.approx(found.resident_estimated, rel=0.002, abs=1 << 18)
    assert found.peak_traced == pytest.approx(found.peak_estimated, rel=0.1)
    assert "estimated     traced" in _lines(found)[0] and len(_lines(found)) == 5


@pytest.mark.parametrize("fused", ["true", "false"])
def test_every_implementation_of_the_optimizer_is_traced(tmp_path: Path, fused: str) -> None:
    folder = base(tmp_path, chat_config())
    changes = [f"model.backbone.model_name={folder}", "checkpoint.load_path=", f"optimizer.fused={fused}"]
    changes += ["model.parallelism.data_parallel_shard_degree=1", "dataloader_train.max_sequence_length=64"]
    found = report("llava_ov", *changes, nproc=1)
    assert found.resident_traced == pytest.approx(found.resident_estimated, rel=0.002, abs=1 << 18)
    print(found.peak_estimated / found.peak_traced)
    assert found.peak_traced == pytest.approx(found.peak_estimated, rel=0.15)


def test_what_torch_refuses_is_told_in_one_sentence() -> None:
    with pytest.raises(RunError, match=r"cannot be traced: DataDependentOutputException: aten\._local_scalar_dense"):  # noqa: SIM117
        with _told(), Weightless():
            torch.empty(1).item()


def test_what_cannot_be_traced_is_said(tmp_path: Path) -> None:
    folder = base(tmp_path, {**cosmos_predict1.NETWORKS["7B"], **DIT})
    with pytest.raises(RunError, match=r"more than 0.01 s; give it more with --trace-limit"):
        report("text2world_7b_8gpu_40gb", f"checkpoint.load_path={folder}", nproc=8, limit_s=0.01)
    assert not torch.distributed.is_initialized()
    with pytest.raises(RunError, match="8 attention heads over 16 context-parallel ranks"):
        report("text2world_14b", f"checkpoint.load_path={folder}", nproc=32)


def test_bytes_are_counted_until_they_die_and_as_they_are_resized() -> None:
    there = torch.zeros(100)
    with StorageTracker() as tracker:
        tracker.watch([there, there.view(10, 10)])
        assert tracker.current == 400
        made = torch.ones(1000)
        view = made[:10]
        assert tracker.current == 4400
        del made
        assert tracker.current == 4400  # the view keeps it
        view.untyped_storage().resize_(0)
        assert (tracker.current, tracker.peak) == (400, 4400)
        del view
        tracker.restart_peak()
    assert (tracker.current, tracker.peak) == (400, 400)


def test_whole_numbers_are_real_and_the_rest_has_no_weight() -> None:
    with Weightless() as mode:
        huge = torch.empty(1 << 40)  # 4 TiB
        lengths = torch.tensor([3, 4]).cumsum(0)
        assert lengths.tolist() == [3, 7] and (torch.arange(10) > 7).nonzero().numel() == 2
        assert (huge * 2)[lengths].shape == (2,)
        batch = {"pixels": torch.zeros(2 << 20, dtype=torch.uint8), "ids": torch.arange(3), "fps": 8.0}
        light = mode.lightened(batch)
    assert light["ids"].tolist() == [0, 1, 2] and light["fps"] == 8.0
    assert type(light["pixels"]).__name__ == "FakeTensor"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llava_ov", "videophy2_sft_nano"])  # of one micro-batch, and of several
def test_the_eight_billion_over_eight_ranks(name: str) -> None:
    found = report(name, nproc=8)
    print(name, found.peak_estimated / found.peak_traced)
    assert found.resident_traced == pytest.approx(found.resident_estimated, rel=0.001)
    assert found.peak_traced == pytest.approx(found.peak_estimated, rel=0.05)
