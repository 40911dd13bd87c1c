"""Rectified flow: the velocity form equals upstream's weighted x0 form, and given frames are clean and free."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.objectives import rectified_flow as flow
from tao_runtime.engine.objectives.draw import Draw, sample_generator

RECIPE = flow.RectifiedFlowRecipe(noise_frames=4)
SHAPE = (2, 4, 3, 3)


def a_batch(samples: int = 4) -> tuple[torch.Tensor, list[Draw]]:
    torch.manual_seed(0)
    draws = [flow.draw(SHAPE, sample_generator(0, 0, number), RECIPE) for number in range(samples)]
    return torch.randn(samples, *SHAPE), draws


def test_one_element_by_hand() -> None:
    """x0 = 1, eps = 3, sigma = 1: t = 0.5, input 2, velocity 2; an answer of 1.5 costs 0.25, times 10."""
    draw = Draw(1.0, torch.full((1, 1, 1, 1), 3.0))
    noised = flow.noise(torch.ones(1, 1, 1, 1, 1), [draw], RECIPE)
    assert (noised.timestep_B1T11.item(), noised.input_BCTHW.item()) == (pytest.approx(0.5), pytest.approx(2))
    numerator, weight = flow.loss_sums(torch.full((1, 1, 1, 1, 1), 1.5), noised, RECIPE)
    assert (numerator.item(), weight) == (pytest.approx(2.5), 1)


def test_velocity_form_equals_upstreams_weighted_form() -> None:
    """(1 + s)^2 / s^2 (x0 - x0_hat)^2 with x0_hat = (1 - t) x - t F, given frames replaced, mean times 10."""
    latents, draws = a_batch()
    noised = flow.noise(latents, draws, RECIPE)
    output = torch.randn_like(latents)
    sigma = torch.tensor([draw.sigma for draw in draws], dtype=torch.float64).view(-1, 1, 1, 1, 1)
    t = sigma / (1 + sigma)
    noisy = latents + sigma * torch.stack([draw.noise_CTHW for draw in draws])
    predicted = (1 - t) * noisy - t * output
    given = noised.condition_B1THW
    predicted = given * latents + (1 - given) * predicted
    wanted = ((1 + sigma) ** 2 / sigma**2 * (latents - predicted) ** 2).mean() * 10
    numerator, weight = flow.loss_sums(output, noised, RECIPE)
    assert numerator.item() / weight == pytest.approx(wanted.item(), rel=1e-5)


def test_given_frames_are_clean_announced_and_free() -> None:
    latents, _ = a_batch(1)
    noised = flow.noise(latents, [Draw(5.0, torch.randn(SHAPE), condition_frames=2)], RECIPE)
    assert torch.equal(noised.input_BCTHW[:, :, :2], latents[:, :, :2])
    assert noised.timestep_B1T11.flatten().tolist() == pytest.approx([1e-4, 1e-4, 5 / 6, 5 / 6], rel=1e-3)
    output = noised.velocity_BCTHW.clone()
    output[:, :, :2] += 100
    assert flow.loss_sums(output, noised, RECIPE)[0].item() == 0
    # ... and stay in the denominator: all of the other half wrong by 1 costs a half.
    assert flow.loss_sums(noised.velocity_BCTHW + 1, noised, RECIPE)[0].item() == pytest.approx(5.0)


def test_very_high_noise_stays_finite() -> None:
    latents, _ = a_batch(1)
    noise = torch.randn(SHAPE)
    noised = flow.noise(latents, [Draw(1e5, noise)], RECIPE)
    assert noised.input_BCTHW[0] == pytest.approx(noise, abs=1e-3)


def test_parts_of_samples_and_of_batches_add_up() -> None:
    latents, draws = a_batch()
    output = torch.randn_like(latents)
    noised = flow.noise(latents, draws, RECIPE)
    whole, weight = flow.loss_sums(output, noised, RECIPE)
    batches = [
        flow.loss_sums(output[cut], flow.noise(latents[cut], draws[cut], RECIPE), RECIPE)
        for cut in (slice(0, 1), slice(1, 4))
    ]
    assert sum(part.item() for part, _ in batches) == pytest.approx(whole.item(), rel=1e-5)
    assert sum(count for _, count in batches) == weight == 4
    frames = [flow.loss_sums(output[:, :, 2 * k : 2 * k + 2], noised.frames(k, 2), RECIPE)[0] for k in range(2)]
    assert sum(part.item() for part in frames) == pytest.approx(whole.item(), rel=1e-5)
