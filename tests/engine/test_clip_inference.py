"""Clips of the generators: one over two processes, parts that take turns, prompts written anew, the safety checker."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ranks import on_ranks
from runs import launched, tao, wait_until

torch = pytest.importorskip("torch")

from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.demo.captioned_clips import MOTIONS, draw_set
from tao_runtime.engine.demo.guardrail import NoGuardrail
from tao_runtime.engine.kept import Kept
from tao_runtime.engine.offload import Turns
from tao_runtime.engine.pipelines import save_pipeline

FAMILIES = ["cosmos_predict1", "cosmos_predict2", "cosmos3_vision"]
FRAMES = {"cosmos_predict1": 25, "cosmos_predict2": 13, "cosmos3_vision": 17}  # 4, 4 and 5 latent frames
TURNS = {
    "cosmos_predict1": ["text_encoder", "transformer", "vae"],
    "cosmos_predict2": ["text_encoder", "vae", "transformer", "vae"],
    "cosmos3_vision": ["vae", "transformer", "vae"],
}


def family_module(family: str) -> Any:
    return importlib.import_module(f"tao_runtime.engine.families.{family}.pipeline")


def a_pipeline(family: str) -> Any:
    """A pipeline whose network was moved from its start, where it answers 0."""
    demo = importlib.import_module(f"tao_runtime.engine.demo.{family}")
    pixels = torch.from_numpy(draw_set(16, 1)[0]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    short = {"num_hidden_layers": 2} if family == "cosmos3_vision" else {"num_layers": 2}
    pipeline = demo.tiny_pipeline(demo.tiny_network(**short), demo.tiny_vae().fit(pixels))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in pipeline.transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return pipeline


def a_request(family: str) -> ClipRequest:
    given = draw_set(1, 2)[0][0][:1]
    asked = {"steps": 3, "guidance": 2.0, "text_length": 12, "given_THWC": given}
    return ClipRequest(MOTIONS[0].caption, 64, 64, FRAMES[family], 16.0, **asked)


def one_clip_over_two_ranks() -> None:
    import torch.distributed as dist

    for family in FAMILIES:
        make = family_module(family)
        with torch.no_grad():
            alone = make.generate(a_pipeline(family), a_request(family))
            shared = a_pipeline(family)
            make.share_clip(shared.transformer, dist.group.WORLD)
            together = make.generate(shared, a_request(family))
        assert np.abs(alone.astype(int) - together).max() <= 1, family
        assert alone.std() > 5


def test_one_clip_over_two_processes_is_that_of_one(tmp_path: Path) -> None:
    on_ranks(one_clip_over_two_ranks, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_take_turns_and_the_clip_is_the_same(family: str) -> None:
    make, pipeline = family_module(family), a_pipeline(family)
    with torch.no_grad():
        before = make.generate(pipeline, a_request(family))
        parts = sorted(set(TURNS[family]))
        turns = Turns(pipeline, parts, torch.device("cpu"))
        first = make.generate(pipeline, a_request(family))
        turns.end()
        moved = len(turns.moves)
        second = make.generate(pipeline, a_request(family))
        turns.end()
    assert np.array_equal(before, first) and np.array_equal(before, second)
    assert turns.moves[:moved] == [(name, way) for name in TURNS[family] for way in ("in", "out")]
    assert turns.moves[moved:] == turns.moves[:moved]


def test_what_rests_is_not_on_the_device() -> None:
    """With storage of its own for rest, float64 here, a part is seen to go there and come back."""
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    pipeline = SimpleNamespace(components={"one": first, "two": second, "tokenizer": object()})
    turns = Turns(pipeline, ["one", "two"], torch.device("cpu"), rest="meta")
    assert first.weight.is_meta and second.weight.is_meta
    turns.device = turns.rest  # nothing comes back from meta
    first(torch.ones(1, 2, device="meta"))
    second(torch.ones(1, 2, device="meta"))
    turns.end()
    assert turns.moves == [("one", "in"), ("one", "out"), ("two", "in"), ("two", "out")]


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_makes_the_clip_of_its_merged_model(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from tao_runtime.engine.build import merged_adapter

    pipeline = a_pipeline("cosmos3_vision")
    plain = family_module("cosmos3_vision").generate(pipeline, a_request("cosmos3_vision"))
    tuned = get_peft_model(pipeline.transformer, LoraConfig(r=2, target_modules=["q_proj_moe_gen", "add_q_proj"]))
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    tuned.save_pretrained(tmp_path)
    fresh = a_pipeline("cosmos3_vision")
    fresh.register_modules(transformer=merged_adapter(fresh.transformer, tmp_path))
    merged = family_module("cosmos3_vision").generate(fresh, a_request("cosmos3_vision"))
    pipeline.register_modules(transformer=tuned.merge_and_unload())
    assert (
        np.abs(
            family_module("cosmos3_vision").generate(pipeline, a_request("cosmos3_vision")).astype(int) - merged
        ).max()
        <= 1
    )
    assert not np.array_equal(plain, merged)


@pytest.mark.parametrize("family", FAMILIES)
def test_released_weights_of_no_family_run_without_the_safety_checker(family: str, tmp_path: Path) -> None:
    """A folder as it is released: Cosmos3's index leaves the checker on, the others have no switch at all."""
    pipeline = a_pipeline(family)
    if family == "cosmos3_vision":
        pipeline.register_to_config(enable_safety_checker=True)
    save_pipeline(pipeline, tmp_path)
    with pytest.raises(ImportError, match="cosmos_guardrail"):
        family_module(family).load(tmp_path)


def test_the_checker_that_is_there_is_asked() -> None:
    """Text and frames pass through it, in each of the Predict pipelines."""
    for family in FAMILIES[:2]:
        pipeline, asked = a_pipeline(family), []
        checker = NoGuardrail()
        checker.check_text_safety = lambda prompt, asked=asked: asked.append(prompt) or True
        checker.check_video_safety = lambda frames, asked=asked: asked.append(frames.shape) or frames
        pipeline.register_modules(safety_checker=checker)
        with torch.no_grad():
            family_module(family).generate(pipeline, a_request(family))
        assert asked == [MOTIONS[0].caption, (FRAMES[family], 64, 64, 3)]


def test_prompts_are_written_anew_once_and_kept(demo_material: Path, tmp_path: Path) -> None:
    from tao_runtime.engine.dist import join_world
    from tao_runtime.engine.requests import Asked
    from tao_runtime.engine.upsample import FOLDER, upsampled

    plan: Any = SimpleNamespace(upsampler=str(demo_material / "model"), model=SimpleNamespace(dtype="float32"))
    asked = [Asked("0", "a red square moves up", None, 0), Asked("1", "a blue square moves left", None, 0)]
    with join_world() as world:
        texts = upsampled(plan, asked, tmp_path, world)
        assert len(texts) == 2 and all(texts)
        part = next((tmp_path / FOLDER).glob("*.jsonl"))
        part.write_text(part.read_text().splitlines()[1] + "\n")
        assert upsampled(plan, asked, tmp_path, world) == texts
        plan.upsampler = None
        assert upsampled(plan, asked, tmp_path, world) == []


NAMES = [f"clip-{number}" for number in range(6)]


def write_request(folder: Path, base: Path, **keys: Any) -> Path:
    prompts = [{"prompt": MOTIONS[at].caption, "name": name, "seed": at} for at, name in enumerate(NAMES)]
    folder.mkdir()
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    made = {"prompts_path": str(folder / "prompts.jsonl"), "size": [256, 256], "num_frames": 17, "fps": 16.0}
    spec = {
        "job": {"task": "vfm", "output_root": str(folder), "project": "p", "group": "g", "name": "made"},
        "model": {"path": str(base), "precision": "float32"},
        "inference": {**made, "num_steps": 4, "guidance": 2.0, **keys},
    }
    (folder / "inference.yaml").write_text(json.dumps(spec))
    return folder / "inference.yaml"


def frames_of(file: Path) -> np.ndarray:
    import av

    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.slow
def test_two_processes_that_share_clips_are_killed_and_go_on(tmp_path: Path) -> None:
    """Both modes, a kill of each process, every clip once: those of one process that was left alone."""
    demo = importlib.import_module("tao_runtime.engine.demo.cosmos3_vision").demo()
    pipeline = demo.pipeline(draw_set(16, 1)[0])
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in pipeline.transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_pipeline(pipeline, tmp_path / "base")
    offload = {"offload_diffusion_transformer": True, "offload_tokenizer": True}
    alone = write_request(tmp_path / "alone", tmp_path / "base")
    shared = write_request(tmp_path / "shared", tmp_path / "base", context_parallel_size=2, **offload)
    tao("inference", "--spec", str(alone), cwd=tmp_path)
    run_dir = tmp_path / "shared/p/g/made"
    with launched("inference", shared, "--nproc", "2") as run:
        wait_until(run, lambda: len(list(Kept(run_dir / "parts").rows())) >= 2)
        os.killpg(run.pid, signal.SIGKILL)
    kept = list(Kept(run_dir / "parts").rows())
    before = {name: (run_dir / f"videos/{name}.mp4").stat().st_mtime_ns for name in (row["clip"] for row in kept)}
    assert not (run_dir / "run.json").exists() and len(kept) < 6
    tao("inference", "--spec", str(shared), "--nproc", "2", cwd=tmp_path)
    assert all((run_dir / f"videos/{name}.mp4").stat().st_mtime_ns == time for name, time in before.items())
    assert json.loads((run_dir / "run.json").read_text())["resumed_from"] == len(kept)
    for number, name in enumerate(NAMES):
        ours, theirs = run_dir / f"videos/{name}.mp4", tmp_path / f"alone/p/g/made/videos/{name}.mp4"
        assert np.abs(frames_of(ours).astype(int) - frames_of(theirs)).mean() < 0.5
        said = json.loads(ours.with_suffix(".json").read_text())
        assert (said["prompt"], said["seed"]) == (MOTIONS[number].caption, number)
        assert (said["context_parallel_size"], said["offload"]) == (2, ["transformer", "vae"])
        assert len(said["spec_sha256"]) == 64
