"""Autoencoders behind one interface: ours and the library's, with and without statistics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from diffusers import AutoencoderKLCosmos, AutoencoderKLWan

from tao_runtime.engine.demo.captioned_clips import draw_set
from tao_runtime.engine.video_vae import compression, decode, encode, latent_shape, load_vae, vae_sha256
from tao_runtime.engine.video_vae.linear import LinearVideoVAE
from tao_runtime.errors import InputError


def pixels(clips_NTHWC) -> torch.Tensor:
    return torch.from_numpy(clips_NTHWC).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


@pytest.fixture(scope="module")
def fitted() -> LinearVideoVAE:
    return LinearVideoVAE(z_dim=16, temporal=4, spatial=8).fit(pixels(draw_set(48, 1)[0]))


def tiny_wan() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, 0.2, 0.3, 0.4],
        latents_std=[0.5, 1.0, 1.5, 2.0],
    ).eval()


def tiny_cosmos() -> AutoencoderKLCosmos:
    torch.manual_seed(0)
    frames = [0.1 * number for number in range(4 * 3)]  # of 4 channels, 3 latent frames each
    return AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=32,
        num_layers=1,
        patch_size=4,
        spatial_compression_ratio=8,
        temporal_compression_ratio=8,
        latents_mean=frames,
        latents_std=[1 + value for value in frames],
    ).eval()


@pytest.mark.parametrize(("temporal", "spatial"), [(4, 8), (8, 8), (4, 16), (8, 16)])
def test_shapes_are_those_of_the_learnt_tokenizers(temporal: int, spatial: int) -> None:
    clips, _ = draw_set(32, 1)
    vae = LinearVideoVAE(z_dim=16, temporal=temporal, spatial=spatial).fit(pixels(clips))
    latents = encode(vae, torch.from_numpy(clips[:2]))
    wanted = (16, 1 + 16 // temporal, 64 // spatial, 64 // spatial)
    assert tuple(latents.shape[1:]) == latent_shape(vae, 17, 64, 64) == wanted
    assert decode(vae, latents).shape == (2, 17, 64, 64, 3)


def test_unseen_clips_come_back(fitted: LinearVideoVAE) -> None:
    clips, _ = draw_set(16, 99)
    back = decode(fitted, encode(fitted, torch.from_numpy(clips)))
    error = (back.float() - torch.from_numpy(clips).float()).square().mean()
    assert 20 * math.log10(255) - 10 * math.log10(error.item()) > 23  # dB


def test_latents_have_unit_mean_variance_and_no_mean(fitted: LinearVideoVAE) -> None:
    clips, _ = draw_set(48, 1)
    latents = encode(fitted, torch.from_numpy(clips))
    assert latents.square().mean().item() == pytest.approx(1, abs=0.1)
    assert latents.mean().abs() < 0.05


def test_the_first_frame_alone_has_the_first_latent(fitted: LinearVideoVAE) -> None:
    clips, _ = draw_set(2, 5)
    whole, first = (encode(fitted, torch.from_numpy(part)) for part in (clips, clips[:, :1]))
    assert torch.allclose(whole[:, :, :1], first, atol=1e-6)


def test_latents_of_a_time_do_not_see_later_frames(fitted: LinearVideoVAE) -> None:
    clips, _ = draw_set(2, 5)
    whole, start = (encode(fitted, torch.from_numpy(part)) for part in (clips, clips[:, :9]))
    assert torch.allclose(whole[:, :, :3], start, atol=1e-6)


def test_fitting_is_repeatable_and_leaves_the_random_state_alone() -> None:
    clips = pixels(draw_set(16, 1)[0])
    torch.manual_seed(5)
    one = LinearVideoVAE(temporal=4, spatial=16).fit(clips)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert vae_sha256(LinearVideoVAE(temporal=4, spatial=16).fit(clips)) == vae_sha256(one)


def test_saved_and_loaded_is_the_same(fitted: LinearVideoVAE, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path)
    loaded = load_vae(tmp_path)
    assert [file.suffix for file in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]
    assert vae_sha256(loaded) == vae_sha256(fitted)
    assert loaded.temperal_downsample == fitted.temperal_downsample == [True, True, False]


def test_the_hash_sees_weights_and_configuration(fitted: LinearVideoVAE) -> None:
    before = vae_sha256(fitted)
    fitted.mean[0] += 1
    changed = vae_sha256(fitted)
    fitted.mean[0] -= 1
    assert before != changed
    assert vae_sha256(LinearVideoVAE(temporal=4)) != vae_sha256(LinearVideoVAE(temporal=4, per_frame=True))


@pytest.mark.parametrize("make", [tiny_wan, tiny_cosmos], ids=["AutoencoderKLWan", "AutoencoderKLCosmos"])
def test_the_librarys_autoencoders(make, tmp_path: Path) -> None:
    vae = make()
    frames = 1 + 2 * compression(vae)[0]
    clip = torch.randint(0, 256, (1, frames, 32, 32, 3), dtype=torch.uint8)
    latents = encode(vae, clip)
    assert tuple(latents.shape[1:]) == latent_shape(vae, frames, 32, 32) == (4, 3, 4, 4)
    with torch.no_grad():
        raw = vae.encode(clip.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).latent_dist.mode()
        back = vae.decode(raw).sample
    mean, std = (torch.tensor(v).view(1, 4, -1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    assert torch.allclose(latents, (raw - mean) / std, atol=1e-6)
    wanted = ((back.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 4, 1)
    assert (decode(vae, latents).float() - wanted).abs().max() <= 0.51
    vae.save_pretrained(tmp_path)
    assert type(load_vae(tmp_path)) is type(vae)
    assert vae_sha256(load_vae(tmp_path)) == vae_sha256(vae)


def test_a_clip_that_does_not_divide_is_refused(fitted: LinearVideoVAE) -> None:
    with pytest.raises(ValueError, match="1 \\+ a multiple of 4 frames, sides multiples of 8"):
        latent_shape(fitted, 16, 64, 64)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "CosmosTransformer3DModel"}')
    with pytest.raises(InputError, match="want an autoencoder of diffusers"):
        load_vae(tmp_path)
