"""EDM against its closed forms: numbers worked by hand, and the identities of Karras et al. 2022."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.objectives import edm
from tao_runtime.engine.objectives.draw import Draw, sample_generator

RECIPE = edm.EdmRecipe()
SHAPE = (2, 4, 3, 3)


def a_batch(samples: int = 4) -> tuple[torch.Tensor, list[Draw]]:
    torch.manual_seed(0)
    draws = [edm.draw(SHAPE, sample_generator(0, 0, number), RECIPE) for number in range(samples)]
    return torch.randn(samples, *SHAPE), draws


def test_one_element_by_hand() -> None:
    """Latent 1 -> clean 0.5; noise 2 at sigma 0.5 -> 1.5; c_skip 0.5 -> 0.75; error 0.25^2 times 8 is 0.5."""
    noised = edm.noise(torch.ones(1, 1, 1, 1, 1), [Draw(0.5, torch.full((1, 1, 1, 1), 2.0))], RECIPE)
    numerator, weight = edm.loss_sums(torch.zeros(1, 1, 1, 1, 1), noised, None, RECIPE)
    assert (numerator.item(), weight) == (pytest.approx(0.5), 1)
    assert noised.input_BCTHW.item() == pytest.approx(1.5 / math.sqrt(0.5))
    assert noised.timestep_B.item() == pytest.approx(math.log(0.5) / 4)


def test_log_variance_by_hand() -> None:
    """The same element with u = ln 2: 0.5 / 2 + ln 2."""
    noised = edm.noise(torch.ones(1, 1, 1, 1, 1), [Draw(0.5, torch.full((1, 1, 1, 1), 2.0))], RECIPE)
    numerator, _ = edm.loss_sums(torch.zeros(1, 1, 1, 1, 1), noised, torch.tensor([math.log(2)]), RECIPE)
    assert numerator.item() == pytest.approx(0.25 + math.log(2))


def test_weighted_error_is_the_networks_own_error() -> None:
    """Karras et al. 2022, eq. 8: with w c_out^2 = 1 the cost is (F - target)^2, whatever sigma is."""
    latents, draws = a_batch()
    noised = edm.noise(latents, draws, RECIPE)
    output = torch.randn_like(latents)
    sigma = noised.sigma_B.view(-1, 1, 1, 1, 1)
    total = sigma**2 + 0.25
    target = (noised.clean_BCTHW - 0.25 / total * noised.noisy_BCTHW) / (sigma * 0.5 / total.sqrt())
    numerator, weight = edm.loss_sums(output, noised, None, RECIPE)
    assert weight == 4
    assert numerator.item() == pytest.approx(4 * (output - target).square().mean().item(), rel=1e-4)
    assert edm.denoised(target, noised) == pytest.approx(noised.clean_BCTHW, abs=1e-4)


def test_the_best_log_variance_is_the_log_of_the_cost() -> None:
    """d/du (c exp(-u) + u) = 0 at u = ln c (Kendall et al. 2018)."""
    latents, draws = a_batch(1)
    noised = edm.noise(latents, draws, RECIPE)
    output = torch.zeros_like(latents)
    cost, _ = edm.loss_sums(output, noised, None, RECIPE)
    u = cost.log()[None].requires_grad_()
    edm.loss_sums(output, noised, u, RECIPE)[0].backward()
    assert u.grad.item() == pytest.approx(0, abs=1e-5)


def test_inputs_have_unit_variance() -> None:
    torch.manual_seed(0)
    shape = (4, 8, 16, 16)
    draws = [edm.draw(shape, sample_generator(0, 1, number), RECIPE) for number in range(4)]
    noised = edm.noise(torch.randn(4, *shape), draws, RECIPE)
    assert noised.input_BCTHW.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("with_log_variance", [False, True])
def test_parts_of_samples_and_of_batches_add_up(with_log_variance: bool) -> None:
    latents, draws = a_batch()
    output = torch.randn_like(latents)
    u = torch.randn(4) if with_log_variance else None
    recipe = edm.EdmRecipe(loss_scale=10.0)
    whole, weight = edm.loss_sums(output, edm.noise(latents, draws, recipe), u, recipe)
    batches = [
        edm.loss_sums(output[cut], edm.noise(latents[cut], draws[cut], recipe), None if u is None else u[cut], recipe)
        for cut in (slice(0, 1), slice(1, 4))
    ]
    assert sum(part.item() for part, _ in batches) == pytest.approx(whole.item(), rel=1e-5)
    assert sum(count for _, count in batches) == weight
    noised = edm.noise(latents, draws, recipe)
    frames = [edm.loss_sums(output[:, :, 2 * k : 2 * k + 2], noised.frames(k, 2), u, recipe)[0] for k in range(2)]
    assert sum(part.item() for part in frames) == pytest.approx(whole.item(), rel=1e-5)


def test_fourier_features_have_unit_variance_and_are_saved() -> None:
    head = edm.LogVariance(4096, generator=torch.Generator().manual_seed(0))
    features = (torch.tensor([0.3])[:, None] * head.freqs + head.phases).cos() * math.sqrt(2)
    assert features.square().mean().item() == pytest.approx(1, abs=0.05)
    assert set(head.state_dict()) == {"freqs", "phases", "head.weight"}
    torch.nn.init.ones_(head.head.weight)
    assert head(torch.tensor([0.3])).item() == pytest.approx(features.sum().item(), rel=1e-4)
