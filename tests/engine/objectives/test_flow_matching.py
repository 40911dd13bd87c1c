"""Flow matching on clips of any size, against its closed forms."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.objectives import flow_matching as flow
from tao_runtime.engine.objectives.draw import Draw, sample_generator

RECIPE = flow.FlowRecipe()


@pytest.mark.parametrize(("u", "time"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.25, 0.75 - 1.29 * 0.1035534)])
def test_waver_time(u: float, time: float) -> None:
    """cos^2(pi / 8) - 1 + 0.25 = 0.1035534."""
    assert flow.waver_time(u) == pytest.approx(time, abs=1e-6)


@pytest.mark.parametrize(("shift", "sigma"), [(1, 0.5), (3, 0.75), (5, 5 / 6), (10, 10 / 11)])
def test_shift_by_resolution(shift: float, sigma: float) -> None:
    assert flow.shifted(0.5, shift) == pytest.approx(sigma)
    assert (flow.shifted(0, shift), flow.shifted(1, shift)) == (0, pytest.approx(1))


def test_times_of_videos_have_the_quantiles_of_waver() -> None:
    recipe = flow.FlowRecipe(shift=1.0)
    drawn = sorted(flow.draw((1, 2, 1, 1), sample_generator(0, 0, k), recipe).sigma for k in range(4000))
    for u in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert drawn[int(4000 * (1 - u))] == pytest.approx(flow.waver_time(u), abs=0.03)


def test_times_of_images_are_logit_normal() -> None:
    recipe = flow.FlowRecipe(shift=1.0)
    drawn = torch.tensor([flow.draw((1, 1, 1, 1), sample_generator(0, 0, k), recipe).sigma for k in range(4000)])
    logits = (drawn / (1 - drawn)).log()
    assert (logits.mean().item(), logits.std().item()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))


def test_one_element_by_hand() -> None:
    """x0 = 1, eps = 3, sigma = 0.25: input 1.5, velocity 2, timestep 250; an answer of 1.5 costs 0.25."""
    noised = flow.noise(torch.ones(1, 1, 1, 1), Draw(0.25, torch.full((1, 1, 1, 1), 3.0)), RECIPE)
    assert (noised.input_CTHW.item(), noised.velocity_CTHW.item(), noised.timestep) == (1.5, 2.0, 250.0)
    numerator, weight = flow.loss_sums([torch.full((1, 1, 1, 1), 1.5)], [noised], RECIPE)
    assert (numerator.item(), weight) == (pytest.approx(0.25), 1)


def test_given_frames_are_clean_and_free_but_counted() -> None:
    clean = torch.randn(2, 4, 3, 3)
    noised = flow.noise(clean, Draw(0.8, torch.randn(2, 4, 3, 3), condition_frames=1), RECIPE)
    assert torch.equal(noised.input_CTHW[:, :1], clean[:, :1])
    assert not torch.equal(noised.input_CTHW[:, 1:], clean[:, 1:])
    answer = noised.velocity_CTHW + 1
    answer[:, :1] += 100
    assert flow.loss_sums([answer], [noised], RECIPE)[0].item() == pytest.approx(0.75)


def test_each_sample_counts_once_whatever_its_size() -> None:
    shapes = [(2, 4, 3, 3), (2, 2, 5, 1), (2, 1, 1, 1)]
    noised = [
        flow.noise(torch.randn(shape), flow.draw(shape, sample_generator(0, 0, number), RECIPE), RECIPE)
        for number, shape in enumerate(shapes)
    ]
    outputs = [torch.randn(shape) for shape in shapes]
    whole, weight = flow.loss_sums(outputs, noised, RECIPE)
    alone = [flow.loss_sums([output], [sample], RECIPE) for output, sample in zip(outputs, noised, strict=True)]
    assert weight == sum(count for _, count in alone) == 3
    assert whole.item() == pytest.approx(sum(part.item() for part, _ in alone), rel=1e-5)
    by_hand = sum(
        float((sample.mask_1T11 * (output - sample.velocity_CTHW) ** 2).sum()) / math.prod(output.shape)
        for output, sample in zip(outputs, noised, strict=True)
    )
    assert whole.item() == pytest.approx(by_hand, rel=1e-5)
