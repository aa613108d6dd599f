"""Coverage of the 95% intervals of the report: how often they contain the true mean, by simulation.

Compares the intervals of the report (Student's t from three seeds on, on the logit scale for percentages)
with the percentile bootstrap over seeds. Seeds are drawn from a normal distribution (differences of two
objectives), or are accuracies: the true accuracy of a seed varies on the logit scale, and is measured on a
number of images.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from cloob.report.stats.intervals import FRACTION, INTERVAL, Bounds, estimate
from cloob.report.stats.single_runs import add_intervals

SEEDS = (2, 3, 5, 8)
_RESAMPLES = 1000
# Name -> median accuracy, test images. The deviation between seeds is 0.15 on the logit scale: at 20% that is
# 2.4 points, at 2% 0.3 (the paper's Birdsnap: 0.2 to 0.3).
ACCURACIES = {
    "accuracy near 2%, 1,855 images": (0.02, 1855),
    "accuracy near 20%, 5,000 images": (0.2, 5000),
    "accuracy near 98%, 200 images": (0.98, 200),
}
_LOGIT_DEVIATION = 0.15
Interval = Callable[[np.ndarray], tuple[float, float]]


def normal_seeds(trials: int, seeds: int, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Values (trials, seeds) and their true mean."""
    return random.normal(1.0, 2.0, (trials, seeds)), 1.0


def accuracy_seeds(
    median: float, images: int, trials: int, seeds: int, random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Measured accuracies (trials, seeds) and their true mean."""
    center = np.log(median / (1 - median))
    accuracies = expit(center + _LOGIT_DEVIATION * random.standard_normal((trials, seeds)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    true_mean = float(weights @ expit(center + _LOGIT_DEVIATION * nodes) / weights.sum())
    return random.binomial(images, accuracies) / images, true_mean


def coverage(values: np.ndarray, true_mean: float, interval: Interval) -> float:
    """The fraction of trials whose interval contains the true mean, in percent."""
    bounds = np.array([interval(trial) for trial in values])
    return float(100 * np.mean((bounds[:, 0] <= true_mean) & (true_mean <= bounds[:, 1])))


def report_interval(bounds: Bounds | None) -> Interval:
    """The interval of the report."""

    def interval(values: np.ndarray) -> tuple[float, float]:
        result = estimate(values, bounds)
        return (result.low, result.high) if result.kind == INTERVAL else (np.nan, np.nan)

    return interval


def bootstrap_interval(random: np.random.Generator) -> Interval:
    """The percentile interval of the bootstrap over seeds."""

    def interval(values: np.ndarray) -> tuple[float, float]:
        means = random.choice(values, (_RESAMPLES, len(values))).mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return float(low), float(high)

    return interval


def single_run_coverage(
    median: float, images: int, groups: int, trials: int, random: np.random.Generator
) -> tuple[float, float]:
    """Coverage of a single run's interval: of the test images alone, and of seed and images together.

    The deviation between seeds is known from `groups` other runs with five seeds each. All seeds share the
    test images, whose difficulty varies; the truth is the mean over seeds and over all possible images.
    """
    center = np.log(median / (1 - median))
    runs = np.repeat(np.arange(groups + 1), [1] + [5] * groups)  # run 0 has one seed
    rows = []
    for experiment in range(trials):
        difficulty = random.standard_normal(images)
        skill = center + _LOGIT_DEVIATION * random.standard_normal((len(runs), 1))
        values = (random.random((len(runs), images)) < expit(skill + difficulty)).mean(axis=1)
        halves = 1.96 * np.sqrt(values * (1 - values) / images)
        part = {"run": runs, "value": values, "image_low": values - halves, "image_high": values + halves}
        rows.append(pd.DataFrame(part).assign(experiment=experiment))
    data = add_intervals(pd.concat(rows, ignore_index=True), ["run"], ["experiment"])
    single = data[data.run == 0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    truth = weights @ expit(center + np.hypot(1, _LOGIT_DEVIATION) * nodes) / weights.sum()
    of_images = single.image_low.le(truth) & single.image_high.ge(truth)
    of_both = single.low.le(truth) & single.high.ge(truth)
    return 100 * float(of_images.mean()), 100 * float(of_both.mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=4000, help="simulated experiments per cell")
    options = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    print("| seeds | interval | " + " | ".join(f"n = {seeds}" for seeds in SEEDS) + " |")
    print("|---|---|" + "---|" * len(SEEDS))
    cases = [("normal (differences)", None, normal_seeds, ())]
    cases += [(name, FRACTION, accuracy_seeds, case) for name, case in ACCURACIES.items()]
    for name, bounds, draw, case in cases:
        samples = [draw(*case, options.trials, seeds, random) for seeds in SEEDS]
        methods = {"percentile bootstrap": bootstrap_interval(random), "report": report_interval(bounds)}
        methods |= {"plain t": report_interval(None)} if bounds else {}
        for method, interval in methods.items():
            cells = [
                "none" if seeds == 2 and "bootstrap" not in method else f"{coverage(*sample, interval):.1f}"
                for seeds, sample in zip(SEEDS, samples, strict=True)
            ]
            print(f"| {name} | {method} | {' | '.join(cells)} |")
    print("\n| a single run, accuracy 20%, 2,000 images | test images only | seed and test images |")
    print("|---|---|---|")
    for groups in (1, 2, 4):
        images_only, both = single_run_coverage(0.2, 2000, groups, options.trials // 4, random)
        print(f"| {groups} other runs with five seeds | {images_only:.1f} | {both:.1f} |")


if __name__ == "__main__":
    main()
