"""How far a probe's accuracy on folds may be from what it will score on a test set.

Sources: score intervals for a later share, Krishnamoorthy and Peng, "Improved closed-form prediction intervals for
binomial and Poisson distributions", Journal of Statistical Planning and Inference 2011; effective size of clustered
samples, Kish, "Survey Sampling", 1965.
"""

from __future__ import annotations

import math

from finetune_advisor.metrics import Z95

FOLDS = 5
"""A probe on folds learns from four fifths of the images, the final one from all of them."""

USUAL_EXPONENT = 0.3
"""Errors fall as images ** -exponent, where no learning curve says otherwise: about the middle of what power laws of
classifiers were found to have (Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017: 0.07 to
0.35; on frozen features, where there is less to learn, they are as steep or steeper)."""

CHOSEN = 0.5
"""Optimism of the best of several places, in standard errors: the places of a network agree on most images, so the best
of ten is about as lucky as the best of three whose differences have 0.6 standard errors: 0.6 * 0.85."""

FIXED = 0.0
"""Optimism of a place that was settled beforehand."""


def interval(
    accuracy: float,
    *,
    images: int,
    std: float,
    optimism: float,
    test_images: int | None = None,
    exponent: float = USUAL_EXPONENT,
) -> tuple[float, float]:
    """95 % interval of the accuracy that a probe will have on test images which are no relatives of its own.

    It joins the noise of the out-of-fold accuracy, that of the test set, and two shifts that are each known only about:
    the final probe learns from more images than those of the folds, and a place that was chosen on the folds looked
    better there than it is. Where relatives make images count less, they are taken to do so in the test set too.

    Args:
        accuracy: out of fold.
        images: those it was judged on.
        std: its standard error, relatives and folds respected; see `ProbeScore.std`.
        optimism: `CHOSEN` or `FIXED`.
        test_images: images of the test set; None for what would be scored on endlessly many.
        exponent: of the power law of the errors.
    """
    assert 0 <= accuracy <= 1 and images > 0, (accuracy, images)
    # The share is drawn to one half by four images, so that a probe without errors is not taken to be sure of it.
    share = (accuracy * images + Z95**2 / 2) / (images + Z95**2)
    alone = share * (1 - share) / images
    design = max(1.0, std**2 / alone)
    gain = (1 - accuracy) * (1 - ((FOLDS - 1) / FOLDS) ** exponent)
    luck = optimism * std
    doubt = (gain**2 + luck**2) / 4
    middle = min(max(accuracy + gain - luck, 0.0), 1.0)
    noise = design * (1 / images + (1 / test_images if test_images else 0.0)) + doubt / (share * (1 - share))
    tested = test_images / (images + test_images) if test_images else 1.0
    return _score_interval(middle, noise, tested)


def _score_interval(share: float, noise: float, tested: float) -> tuple[float, float]:
    """The later shares that do not contradict this one: whose difference is within `Z95` standard deviations.

    The deviation is that of both shares pooled, so it is not zero where this share is 0 or 1.

    Args:
        share: so far.
        noise: variance of the difference over that of a single answer.
        tested: share of the later answers in the pool; 1 gives Wilson's interval.
    """
    spread = Z95**2 * noise
    middle = spread * tested * (1 - 2 * share) / 2
    half = math.sqrt(middle**2 + (1 + spread * tested**2) * spread * share * (1 - share))
    low, high = (share + (middle + side * half) / (1 + spread * tested**2) for side in (-1, 1))
    return max(0.0, min(low, share)), min(1.0, max(high, share))
