"""Effect of test images that are in the training corpus on an accuracy, as in CLIP's paper, section 5."""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

# Of the interval of the accuracy on overlapping images, as in CLIP's paper (section 5).
OVERLAP_CONFIDENCE = 0.995


@dataclass(frozen=True)
class OverlapEffect:
    """Accuracies (fractions) on all images, on those without a near-duplicate (clean), and on the others.

    `low` and `high` are the 99.5% Clopper-Pearson interval of the accuracy on overlapping images. `p` is the
    one-sided p-value of the binomial test that it is above the accuracy on clean images, which is taken as
    known. NaN where undefined.
    """

    all: float
    clean: float
    overlap: float
    low: float
    high: float
    p: float
    fraction: float  # of overlapping images

    @property
    def difference(self) -> tuple[float, float, float]:
        """All − clean = fraction · (overlap − clean); its interval follows from that of `overlap`."""
        bounds = (self.overlap, self.low, self.high)
        estimate, low, high = (self.fraction * (accuracy - self.clean) for accuracy in bounds)
        return estimate, low, high


def overlap_effect(
    images: int, correct: float, overlapping: int, correct_overlapping: float
) -> OverlapEffect:
    """The effect of the overlapping images, from numbers of images and of correctly classified ones.

    The numbers of correct images may be means over seeds: seeds see the same images, so several are no more
    evidence about images than one. Beta quantiles and the incomplete beta function extend interval and test
    to them; for whole numbers they are exact.
    """
    clean_images = images - overlapping
    clean = (correct - correct_overlapping) / clean_images if clean_images else np.nan
    if not overlapping:
        return OverlapEffect(correct / images, clean, np.nan, np.nan, np.nan, np.nan, 0.0)
    k, n, tail = correct_overlapping, overlapping, (1 - OVERLAP_CONFIDENCE) / 2
    low = stats.beta.ppf(tail, k, n - k + 1) if k > 0 else 0.0
    high = stats.beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    # P(X ≥ k) of X ~ Binomial(n, clean).
    p = special.betainc(k, n - k + 1, clean) if k > 0 or np.isnan(clean) else 1.0
    return OverlapEffect(correct / images, clean, k / n, float(low), float(high), float(p), n / images)
