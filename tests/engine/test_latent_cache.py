"""What was encoded once is not encoded again; what differs is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.demo.captioned_clips import draw_set
from tao_runtime.engine.latent_cache import LatentCache, LatentKey
from tao_runtime.engine.video_vae import encode, vae_sha256
from tao_runtime.engine.video_vae.linear import LinearVideoVAE

MIB = 1 << 20


class CountingVAE(LinearVideoVAE):
    """Counts the clips it encodes."""

    clips = 0

    def encode(self, x, return_dict=True):
        type(self).clips += len(x)
        return super().encode(x, return_dict)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.from_numpy(draw_set(8, 1)[0])


@pytest.fixture
def vae(clips) -> CountingVAE:
    CountingVAE.clips = 0
    return CountingVAE(z_dim=8, temporal=4, spatial=16).fit(clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1)


def epoch(cache: LatentCache, vae: CountingVAE, clips: torch.Tensor) -> list[torch.Tensor]:
    key = LatentKey("", tuple(range(17)), 64, 64, vae_sha256(vae))
    return [
        cache.load(replace(key, clip_sha256=str(number)), lambda clip=clip: encode(vae, clip[None])[0])
        for number, clip in enumerate(clips)
    ]


def test_no_vae_time_for_a_clip_already_seen(tmp_path: Path, vae: CountingVAE, clips: torch.Tensor) -> None:
    cache = LatentCache(tmp_path, MIB)
    first, again = epoch(cache, vae, clips), epoch(cache, vae, clips)
    other_run = epoch(LatentCache(tmp_path, MIB), vae, clips)
    assert CountingVAE.clips == 8
    assert (cache.hits, cache.misses) == (8, 8)
    fresh = [encode(vae, clip[None])[0] for clip in clips]
    for latents in zip(first, again, other_run, fresh, strict=True):
        assert all(torch.equal(latents[0], each) for each in latents)


@pytest.mark.parametrize(
    "change",
    [{"clip_sha256": "b"}, {"frame_indices": (0, 2)}, {"height": 32}, {"width": 32}, {"vae_sha256": "w"}],
    ids=lambda change: next(iter(change)),
)
def test_everything_latents_depend_on_is_in_the_key(tmp_path: Path, change: dict) -> None:
    cache = LatentCache(tmp_path, MIB)
    key = LatentKey("a", (0, 1), 64, 64, "v")
    cache.load(key, lambda: torch.zeros(1))
    assert cache.load(replace(key, **change), lambda: torch.ones(1)).item() == 1
    assert cache.load(key, lambda: torch.ones(1)).item() == 0


def test_the_budget_holds_over_runs_and_the_rest_is_made_each_time(
    tmp_path: Path, vae: CountingVAE, clips: torch.Tensor
) -> None:
    one = encode(vae, clips[:1])[0].nbytes
    cache = LatentCache(tmp_path, 3 * one)
    epoch(cache, vae, clips)
    CountingVAE.clips = 0
    epoch(LatentCache(tmp_path, 3 * one), vae, clips)
    assert CountingVAE.clips == 5
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3


def test_a_broken_file_is_written_again(tmp_path: Path) -> None:
    cache, key = LatentCache(tmp_path, MIB), LatentKey("a", (0,), 64, 64, "v")
    cache.load(key, lambda: torch.zeros(3))
    [file] = tmp_path.glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    assert torch.equal(cache.load(key, lambda: torch.ones(3)), torch.ones(3))
    assert torch.equal(cache.load(key, lambda: torch.zeros(3)), torch.ones(3))


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path) -> None:
    cache, file = LatentCache(tmp_path, MIB), tmp_path / "clip.mp4"
    file.write_bytes(b"one")
    first = cache.clip_sha256(file)
    assert cache.clip_sha256(file) == first
    file.write_bytes(b"other")
    assert cache.clip_sha256(file) != first
