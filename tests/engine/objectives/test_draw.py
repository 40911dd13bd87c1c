"""Draws belong to (seed, step, sample): no rank, order or micro-batch changes them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.objectives import edm, flow_matching, rectified_flow
from tao_runtime.engine.objectives.draw import condition_mask, frame_slice, sample_generator

SHAPE = (4, 5, 2, 2)
OBJECTIVES = [
    (edm, edm.EdmRecipe()),
    (rectified_flow, rectified_flow.RectifiedFlowRecipe()),
    (flow_matching, flow_matching.FlowRecipe()),
]
IDS = ["edm", "rectified_flow", "flow_matching"]


def many(objective, recipe, *, count: int = 4000, shape=(1, 5, 1, 1)) -> list:
    return [objective.draw(shape, sample_generator(0, 0, sample), recipe) for sample in range(count)]


@pytest.mark.parametrize(("objective", "recipe"), OBJECTIVES, ids=IDS)
def test_a_sample_draws_the_same_wherever_it_is_drawn(objective, recipe) -> None:
    torch.manual_seed(1)
    first = objective.draw(SHAPE, sample_generator(7, 3, 11), recipe)
    torch.manual_seed(2)
    objective.draw(SHAPE, sample_generator(7, 3, 12), recipe)
    again = objective.draw(SHAPE, sample_generator(7, 3, 11), recipe)
    assert torch.equal(first.noise_CTHW, again.noise_CTHW)
    assert (first.sigma, first.condition_frames, first.drop_text) == (
        again.sigma,
        again.condition_frames,
        again.drop_text,
    )


@pytest.mark.parametrize(("objective", "recipe"), OBJECTIVES, ids=IDS)
@pytest.mark.parametrize("key", [(8, 3, 11), (7, 4, 11), (7, 3, 12)], ids=str)
def test_seed_step_and_sample_each_change_the_draw(objective, recipe, key: tuple[int, int, int]) -> None:
    one = objective.draw(SHAPE, sample_generator(7, 3, 11), recipe)
    other = objective.draw(SHAPE, sample_generator(*key), recipe)
    assert one.sigma != other.sigma
    assert not torch.equal(one.noise_CTHW, other.noise_CTHW)


@pytest.mark.parametrize(("objective", "recipe"), OBJECTIVES, ids=IDS)
def test_text_is_dropped_as_often_as_the_recipe_says(objective, recipe) -> None:
    wanted = getattr(recipe, "text_dropout", None) or recipe.caption_dropout
    drawn = many(objective, recipe)
    assert sum(draw.drop_text for draw in drawn) / len(drawn) == pytest.approx(wanted, abs=0.02)


def test_edm_sigma_is_lognormal() -> None:
    logs = torch.tensor([draw.sigma for draw in many(edm, edm.EdmRecipe(p_mean=-1.2, p_std=1.5))]).log()
    assert logs.mean().item() == pytest.approx(-1.2, abs=0.08)
    assert logs.std().item() == pytest.approx(1.5, abs=0.08)


def test_sigma_grows_with_the_root_of_the_frames() -> None:
    one = edm.draw(SHAPE, sample_generator(0, 0, 0), edm.EdmRecipe())
    sixteen = edm.draw(SHAPE, sample_generator(0, 0, 0), edm.EdmRecipe(noise_frames=16))
    assert sixteen.sigma == pytest.approx(4 * one.sigma)


def test_a_share_of_sigmas_is_high_and_one_or_two_frames_are_given() -> None:
    drawn = many(rectified_flow, rectified_flow.RectifiedFlowRecipe())
    high = [draw.sigma for draw in drawn if draw.sigma > 200]  # lognormal x sqrt(24) exceeds 200 once in 10^4
    assert len(high) / len(drawn) == pytest.approx(0.05, abs=0.012)
    assert max(high) <= 100_000
    # Log-uniform: half of them lie under the geometric mean, 4472.
    assert sum(sigma < 4472 for sigma in high) / len(high) == pytest.approx(0.5, abs=0.12)
    given = [draw.condition_frames for draw in drawn]
    assert set(given) == {1, 2}
    assert given.count(1) / len(given) == pytest.approx(0.5, abs=0.03)


def test_frames_are_given_in_the_recipes_shares() -> None:
    given = [draw.condition_frames for draw in many(flow_matching, flow_matching.FlowRecipe())]
    shares = [given.count(number) / len(given) for number in range(3)]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.025)


@pytest.mark.parametrize(("objective", "recipe"), OBJECTIVES[1:], ids=IDS[1:])
def test_an_image_has_no_given_frame(objective, recipe) -> None:
    assert {draw.condition_frames for draw in many(objective, recipe, count=200, shape=(1, 1, 1, 1))} == {0}


def test_a_frame_is_left_to_predict() -> None:
    drawn = many(
        flow_matching, flow_matching.FlowRecipe(condition_shares=(0.0, 0.0, 1.0)), count=20, shape=(1, 2, 1, 1)
    )
    assert {draw.condition_frames for draw in drawn} == {1}


def test_the_mask_is_one_on_given_frames() -> None:
    drawn = [rectified_flow.Draw(1.0, torch.zeros(1, 3, 1, 1), given) for given in (0, 2)]
    mask = condition_mask(drawn, torch.zeros(2, 1, 3, 1, 1))
    assert mask.flatten(1).tolist() == [[0, 0, 0], [1, 1, 0]]


def test_frames_that_do_not_divide_are_refused() -> None:
    assert frame_slice(24, 1, 8) == slice(3, 6)
    with pytest.raises(ValueError, match="5 latent frames over 2"):
        frame_slice(5, 0, 2)
