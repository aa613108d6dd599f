"""The effect of overlapping test images against SciPy's exact binomial test and interval."""

import math

import pytest
from scipy import stats

from cloob.report.stats.overlap import overlap_effect


@pytest.mark.parametrize(
    ("images", "correct", "overlapping", "correct_overlapping"),
    [(1000, 400, 50, 30), (1000, 400, 50, 0), (60, 60, 20, 20), (1000, 50, 50, 50), (1000, 400, 1, 1)],
)
def test_interval_and_test_are_the_exact_binomial_ones(
    images: int, correct: int, overlapping: int, correct_overlapping: int
) -> None:
    effect = overlap_effect(images, correct, overlapping, correct_overlapping)
    clean = (correct - correct_overlapping) / (images - overlapping)
    test = stats.binomtest(correct_overlapping, overlapping, clean, alternative="greater")
    interval = stats.binomtest(correct_overlapping, overlapping).proportion_ci(0.995, method="exact")
    assert effect.p == pytest.approx(test.pvalue)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
    assert (effect.all, effect.clean) == pytest.approx((correct / images, clean))
    assert effect.overlap == correct_overlapping / overlapping


def test_difference_is_of_all_and_clean_images_and_its_interval_is_scaled() -> None:
    effect = overlap_effect(200, 110, 20, 16)
    difference, low, high = effect.difference
    assert difference == pytest.approx(110 / 200 - 94 / 180)
    assert low == pytest.approx(0.1 * (effect.low - effect.clean))
    assert high == pytest.approx(0.1 * (effect.high - effect.clean))


def test_a_mean_over_seeds_is_between_its_neighbors() -> None:
    few, mean, many = (overlap_effect(100, 40, 10, count) for count in (6, 6.5, 7))
    assert few.low < mean.low < many.low and few.high < mean.high < many.high
    assert few.p > mean.p > many.p


def test_without_overlapping_images_all_are_clean() -> None:
    effect = overlap_effect(100, 40, 0, 0)
    assert effect.all == effect.clean == 0.4
    assert math.isnan(effect.overlap) and math.isnan(effect.p) and math.isnan(effect.difference[0])


@pytest.mark.parametrize("correct", [0, 40])
def test_without_clean_images_there_is_nothing_to_compare_with(correct: int) -> None:
    effect = overlap_effect(100, correct, 100, correct)
    assert effect.overlap == effect.all == correct / 100
    assert math.isnan(effect.clean) and math.isnan(effect.p) and math.isnan(effect.difference[0])
