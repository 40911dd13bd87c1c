"""The Wan 2.2 autoencoder from a checkpoint with its original names."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan

from tao_runtime.data.wan22_vae import NAMES
from tao_runtime.engine.video_vae import encode, latent_shape, load_vae
from tao_runtime.engine.video_vae.wan22 import CONFIG, load_checkpoint
from tao_runtime.errors import InputError

TINY = {**CONFIG, "base_dim": 4, "decoder_base_dim": 4, "z_dim": 4, "latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}


@pytest.fixture
def vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(**TINY).eval()


def save_original(vae: AutoencoderKLWan, path: Path) -> None:
    torch.save({NAMES.to_original(name): value for name, value in vae.state_dict().items()}, path)


def test_a_checkpoint_with_original_names_loads(vae: AutoencoderKLWan, tmp_path: Path) -> None:
    save_original(vae, tmp_path / "vae.pth")
    loaded = load_checkpoint(tmp_path / "vae.pth", TINY)
    clip = torch.randint(0, 256, (1, 5, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(encode(loaded, clip), encode(vae, clip))
    assert encode(vae, clip).shape[1:] == latent_shape(vae, 5, 32, 32) == (4, 2, 2, 2)


@pytest.mark.parametrize(
    ("original", "ours"),
    [  # names of the released file
        ("encoder.conv1.weight", "encoder.conv_in.weight"),
        ("encoder.downsamples.0.downsamples.0.residual.2.weight", "encoder.down_blocks.0.resnets.0.conv1.weight"),
        ("encoder.downsamples.1.downsamples.0.shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
        (
            "encoder.downsamples.0.downsamples.2.resample.1.weight",
            "encoder.down_blocks.0.downsampler.resample.1.weight",
        ),
        ("encoder.downsamples.1.downsamples.2.time_conv.weight", "encoder.down_blocks.1.downsampler.time_conv.weight"),
        ("decoder.upsamples.0.upsamples.3.time_conv.weight", "decoder.up_blocks.0.upsampler.time_conv.weight"),
        ("decoder.upsamples.3.upsamples.2.residual.6.weight", "decoder.up_blocks.3.resnets.2.conv2.weight"),
        ("decoder.middle.1.to_qkv.weight", "decoder.mid_block.attentions.0.to_qkv.weight"),
        ("decoder.middle.2.residual.0.gamma", "decoder.mid_block.resnets.1.norm1.gamma"),
        ("decoder.head.2.weight", "decoder.conv_out.weight"),
        ("conv1.weight", "quant_conv.weight"),
        ("conv2.weight", "post_quant_conv.weight"),
    ],
)
def test_names(original: str, ours: str) -> None:
    assert NAMES.to_diffusers(original) == ours
    assert NAMES.to_original(ours) == original


def test_the_released_shapes_are_those_of_the_configuration() -> None:
    """Read from the released file: first and last convolutions, and where time is halved and doubled."""
    with init_empty_weights():
        state = AutoencoderKLWan(**CONFIG).state_dict()
    shapes = {NAMES.to_original(name): tuple(value.shape) for name, value in state.items()}
    assert len(shapes) == len(state)
    assert shapes["encoder.conv1.weight"] == (160, 12, 3, 3, 3)
    assert shapes["encoder.head.2.weight"] == (96, 640, 3, 3, 3)
    assert shapes["conv2.weight"] == (48, 48, 1, 1, 1)
    assert shapes["decoder.conv1.weight"] == (1024, 48, 3, 3, 3)
    assert shapes["encoder.downsamples.1.downsamples.2.time_conv.weight"] == (320, 320, 3, 1, 1)
    assert shapes["decoder.upsamples.0.upsamples.3.time_conv.weight"] == (2048, 1024, 3, 1, 1)
    assert shapes["decoder.head.2.weight"] == (12, 256, 3, 3, 3)
    assert "encoder.downsamples.0.downsamples.2.time_conv.weight" not in shapes
    assert "decoder.upsamples.2.upsamples.3.time_conv.weight" not in shapes


def test_another_checkpoint_is_refused_by_name(vae: AutoencoderKLWan, tmp_path: Path) -> None:
    state = {NAMES.to_original(name): value for name, value in vae.state_dict().items()}
    state["surprise"] = state.pop("conv1.bias")
    torch.save(state, tmp_path / "vae.pth")
    with pytest.raises(InputError, match=r"missing \['quant_conv.bias'\], unknown \['surprise'\]"):
        load_checkpoint(tmp_path / "vae.pth", TINY)
    with pytest.raises(InputError, match="of another shape"):
        load_vae(tmp_path / "vae.pth")
