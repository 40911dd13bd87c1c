"""PSNR and SSIM: what is known of them in closed form, and scikit-image's numbers of the same pictures."""

from __future__ import annotations

import numpy as np
import pytest

from tao_runtime.score.similarity import MOST_DB, compare_clips, luma, psnr, ssim

Y, X = np.mgrid[0:40, 0:48]
PLAIN = ((X * 5 + Y * 3) % 256).astype(np.uint8)
# scikit-image 0.26.0: structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
# data_range=255) without a border of 5 pixels, and peak_signal_noise_ratio(..., data_range=255).
OTHERS = {
    "pattern": (((X * 5 + Y * 3 + ((X * Y) % 17) * 4) % 256), 0.1990826097649345, 10.030658291413202),
    "noise": (np.clip(PLAIN.astype(int) + ((X * 7 + Y * 11) % 23) - 11, 0, 255), 0.8567810247098144, 31.81340736520118),
    "shifted": (np.roll(PLAIN, 2, 1), 0.8204741150466597, 14.026293221933663),
}


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_are_those_of_scikit_image(name: str) -> None:
    other, wanted_ssim, wanted_psnr = OTHERS[name]
    assert ssim(PLAIN.astype(float), other.astype(float)) == pytest.approx(wanted_ssim, abs=1e-12)
    assert psnr(PLAIN, other.astype(np.uint8)) == pytest.approx(wanted_psnr, abs=1e-9)


def test_a_clip_is_like_itself() -> None:
    clip = np.stack([np.stack([PLAIN] * 3, -1)] * 3)
    assert compare_clips(clip, clip).psnr == MOST_DB
    assert compare_clips(clip, clip).ssim == pytest.approx(1.0, abs=1e-12)


def test_plain_pictures_in_closed_form() -> None:
    one, other, c1 = np.full((16, 16), 100.0), np.full((16, 16), 120.0), (0.01 * 255) ** 2
    assert ssim(one, other) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))
    grey = np.full((2, 8, 8, 3), 7, np.uint8)
    assert psnr(grey, grey + 1) == pytest.approx(48.1308, abs=1e-4)


def test_frames_smaller_than_the_window_have_none() -> None:
    small = np.zeros((2, 10, 40, 3), np.uint8)
    assert compare_clips(small, small).ssim is None
    with pytest.raises(ValueError, match=r"\[2, 10, 40, 3\] and \[1, 10, 40, 3\]"):
        compare_clips(small, small[:1])


def test_white_is_255() -> None:
    assert luma(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(255)
