"""Coverage of the 95% intervals, by simulation: they contain the true mean in about 95% of experiments."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from cloob.report.stats.intervals import FRACTION, INTERVAL, RANGE, Bounds, Estimate, estimate
from cloob.report.stats.single_runs import add_intervals

TRIALS = 2000  # the standard error of a coverage is 0.5%


def coverage(experiments: np.ndarray, true_mean: float, bounds: Bounds | None = None) -> float:
    """The percentage of experiments (trials, seeds) whose interval contains the true mean."""
    estimates = [estimate(values, bounds) for values in experiments]
    assert {result.kind for result in estimates} == {INTERVAL}
    return float(100 * np.mean([contains(result, true_mean) for result in estimates]))


def contains(result: Estimate, value: float) -> bool:
    return result.low <= value <= result.high


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_coverage_of_paired_differences_is_95_percent(seeds: int) -> None:
    differences = np.random.default_rng(seeds).normal(1.5, 2.0, (TRIALS, seeds))
    assert 93.5 < coverage(differences, 1.5) < 96.5


@pytest.mark.parametrize(("accuracy", "images"), [(0.02, 1855), (0.2, 5000), (0.98, 500)])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_coverage_of_accuracies_is_95_percent(seeds: int, accuracy: float, images: int) -> None:
    random = np.random.default_rng(seeds)
    # The seeds differ, and their accuracies are measured on images: Beta-binomial, as wide as in the paper.
    concentration = 1500 * accuracy * (1 - accuracy) + 40
    parameters = accuracy * concentration, (1 - accuracy) * concentration
    seeds_accuracies = random.beta(*parameters, (TRIALS, seeds))
    measured = random.binomial(images, seeds_accuracies) / images
    assert 92.5 < coverage(measured, accuracy, FRACTION) < 97


def test_two_seeds_would_have_an_interval_that_covers_far_less() -> None:
    experiments = np.random.default_rng(2).normal(1.5, 2.0, (TRIALS, 2))
    ranges = [estimate(values) for values in experiments]
    assert {result.kind for result in ranges} == {RANGE}
    # This is why the range of two seeds is not called an interval: it contains the mean in half of the cases.
    assert 47 < 100 * np.mean([contains(result, 1.5) for result in ranges]) < 53


def test_interval_of_a_single_run_covers_seed_and_images_unlike_that_of_the_images() -> None:
    random = np.random.default_rng(5)
    images, deviation, logit = 2000, 0.15, -1.4
    # In every experiment, four runs with five seeds show the deviation between seeds; run 0 has one seed.
    runs = np.repeat(np.arange(5), [1, 5, 5, 5, 5])
    value = random.binomial(images, expit(random.normal(logit, deviation, (TRIALS, len(runs))))) / images
    half = 1.96 * np.sqrt(value * (1 - value) / images)
    data = pd.DataFrame({"run": np.tile(runs, TRIALS), "value": value.ravel()})
    data = data.assign(experiment=np.repeat(np.arange(TRIALS), len(runs)))
    data = data.assign(image_low=(value - half).ravel(), image_high=(value + half).ravel())
    single = add_intervals(data, ["run"], ["experiment"]).query("run == 0")
    assert len(single) == TRIALS
    accuracy = expit(logit)
    of_images = single.image_low.le(accuracy) & single.image_high.ge(accuracy)
    of_both = single.low.le(accuracy) & single.high.ge(accuracy)
    assert 100 * of_images.mean() < 60
    assert 93.5 < 100 * of_both.mean() < 97.5
