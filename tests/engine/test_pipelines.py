"""Tiny pipelines of every family: a folder that is saved, loads again, and generates the same clip."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.demo.captioned_clips import MOTIONS, draw_set
from tao_runtime.engine.demo.guardrail import NoGuardrail
from tao_runtime.engine.pipelines import load_pipeline, save_pipeline
from tao_runtime.errors import InputError

FAMILIES = ["cosmos_predict1", "cosmos_predict2", "cosmos3_vision"]


def modules(family: str):
    demo = importlib.import_module(f"tao_runtime.engine.demo.{family}")
    return demo, importlib.import_module(f"tao_runtime.engine.families.{family}.pipeline")


def a_pipeline(family: str):
    demo, _ = modules(family)
    pixels = torch.from_numpy(draw_set(16, 1)[0]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    short = {"num_hidden_layers": 1} if family == "cosmos3_vision" else {"num_layers": 1}
    return demo.tiny_pipeline(demo.tiny_network(**short), demo.tiny_vae().fit(pixels))


def checker(family: str) -> dict:
    return {} if family == "cosmos3_vision" else {"safety_checker": NoGuardrail()}


def a_request(**changes) -> ClipRequest:
    given = draw_set(1, 2)[0][0][:1]
    asked = {"steps": 2, "guidance": 2.0, "text_length": 12, "given_THWC": given, **changes}
    return ClipRequest(MOTIONS[0].caption, 64, 64, 17, 16.0, **asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_loads_and_generates_the_same(family: str, tmp_path: Path) -> None:
    pipeline, (_, family_module) = a_pipeline(family), modules(family)
    before = family_module.generate(pipeline, a_request())
    save_pipeline(pipeline, tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["vae"] == index.get("safety_checker", [None, None]) == [None, None]
    after = family_module.generate(family_module.load(tmp_path, **checker(family)), a_request())
    assert before.shape == (17, 64, 64, 3)
    assert before.dtype == np.uint8
    # Weights of a file lie elsewhere in memory: a product may round otherwise.
    assert np.abs(before.astype(int) - after).max() <= 1
    # ... and the pipeline that was saved still works.
    assert np.array_equal(family_module.generate(pipeline, a_request()), before)


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_given_frames_are_kept(family: str) -> None:
    pipeline, (_, family_module) = a_pipeline(family), modules(family)
    request = a_request()
    made = family_module.generate(pipeline, request).astype(int)
    assert np.abs(made[0] - request.given_THWC[0]).mean() < 12  # what the linear tokenizer loses
    other = family_module.generate(pipeline, a_request(given_THWC=255 - request.given_THWC)).astype(int)
    assert np.abs(other[0] - made[0]).mean() > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(family: str) -> None:
    pipeline, (_, family_module) = a_pipeline(family), modules(family)
    one, same, other = (family_module.generate(pipeline, a_request(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_folder_of_another_pipeline_is_refused(tmp_path: Path) -> None:
    from diffusers import CosmosTextToWorldPipeline

    (tmp_path / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    with pytest.raises(InputError, match="WanPipeline; want CosmosTextToWorldPipeline"):
        load_pipeline(CosmosTextToWorldPipeline, tmp_path)


def test_released_weights_never_run_without_a_checker(tmp_path: Path) -> None:
    """Nothing of ours stands in for the library's checker unless it is handed over."""
    save_pipeline(a_pipeline("cosmos_predict1"), tmp_path)
    _, family_module = modules("cosmos_predict1")
    with pytest.raises(ImportError, match="cosmos_guardrail"):
        family_module.load(tmp_path)
