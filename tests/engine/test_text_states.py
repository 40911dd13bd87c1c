"""Captions are encoded once, whatever happens in between, and as if each were alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.demo.captioned_clips import MOTIONS
from tao_runtime.engine.demo.tiny_text import tiny_t5
from tao_runtime.engine.dit import batch_text, pad_text
from tao_runtime.engine.objectives.draw import Draw
from tao_runtime.engine.text_states import TextEncoder, encode_captions, load_states, state_path
from tao_runtime.errors import InputError

CAPTIONS = [motion.caption for motion in MOTIONS[:5]] + ["a red square", "still"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    tokenizer, model = tiny_t5()
    return TextEncoder(model, tokenizer, "tiny", dtype=torch.float32)


def test_states_of_a_batch_are_those_of_each_alone(encoder: TextEncoder, tmp_path: Path) -> None:
    assert encode_captions(CAPTIONS, tmp_path, encoder, batch_size=3, show=False) == len(CAPTIONS)
    for caption in CAPTIONS:
        [alone] = encoder.states([caption])
        assert torch.allclose(load_states(tmp_path, caption), alone, atol=1e-6)


def test_an_interrupted_folder_is_finished_and_a_finished_one_left_alone(encoder: TextEncoder, tmp_path: Path) -> None:
    encode_captions(CAPTIONS[:3], tmp_path, encoder, show=False)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert encode_captions([*CAPTIONS, CAPTIONS[0]], tmp_path, encoder, show=False) == len(CAPTIONS) - 3
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert encode_captions(CAPTIONS, tmp_path, encoder, show=False) == 0


def test_another_encoder_is_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    encode_captions(CAPTIONS[:1], tmp_path, encoder, show=False)
    with pytest.raises(InputError, match="'max_tokens': 512"):
        encode_captions(CAPTIONS, tmp_path, replace(encoder, max_tokens=4), show=False)


def test_long_captions_are_cut_and_kept_as_the_pipeline_pads_them(encoder: TextEncoder, tmp_path: Path) -> None:
    short = replace(encoder, max_tokens=3)
    encode_captions(CAPTIONS[:1], tmp_path, short, show=False)
    states = load_states(tmp_path, CAPTIONS[0])
    assert len(states) == 3
    assert torch.equal(pad_text(states, 5), torch.cat([states, torch.zeros(2, 32)]))
    assert torch.equal(pad_text(states, 2), states[:2])


def test_padded_states_are_what_the_pipeline_makes(encoder: TextEncoder) -> None:
    from tao_runtime.engine.demo.cosmos_predict1 import tiny_network, tiny_pipeline, tiny_vae

    pipeline = tiny_pipeline(tiny_network(num_layers=1), tiny_vae())
    wanted = pipeline._get_t5_prompt_embeds(CAPTIONS[:2], max_sequence_length=12)
    ours = torch.stack([pad_text(states, 12) for states in encoder.states(CAPTIONS[:2])])
    assert torch.allclose(ours, wanted, atol=1e-6)


def test_dropped_text_is_zero() -> None:
    states, nothing = [torch.ones(2, 3), torch.ones(4, 3)], torch.zeros(0)
    batch = batch_text(states, [Draw(1.0, nothing), Draw(1.0, nothing, drop_text=True)], length=3)
    assert batch[0, :, 0].tolist() == [1, 1, 0]
    assert float(batch[1].abs().sum()) == 0


def test_a_caption_without_states_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text states for 'a red square'"):
        load_states(tmp_path, "a red square")
    assert state_path(tmp_path, "x").parent == tmp_path
