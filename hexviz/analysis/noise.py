"""How large a difference of two means must be before it is more than noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.99
# Quantiles of Student's t at 0.995, by degrees of freedom; between these 1 / degrees gives their logarithm to 0.3 %.
_DEGREES = np.array([1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 30, np.inf])
_QUANTILES = np.array(
    [63.657, 44.538, 29.272, 17.82, 12.683, 9.925, 7.164, 5.841, 4.604, 4.032, 3.707, 3.355, 3.169, 2.947, 2.75, 2.576]
)


def student_t(degrees: Any) -> Any:
    """Within how many standard errors 99 of 100 differences of nothing but noise lie, by degrees of freedom."""
    return np.exp(np.interp(-1.0 / np.maximum(degrees, 1.0), -1.0 / _DEGREES, np.log(_QUANTILES)))


def noise_band(before: pd.DataFrame, after: pd.DataFrame) -> Any:
    """Half the width of the band in which 99 of 100 differences of the means lie where nothing changed.

    ``before`` and ``after`` have the columns ``var`` and ``n`` per row. By the rule of Welch; a side of one run is
    taken to vary as the other side does. NaN where both sides have one run only, which says nothing about noise.
    """
    n_before, n_after = (side["n"].to_numpy(dtype="float64") for side in (before, after))
    own_before, own_after = (side["var"].to_numpy(dtype="float64") for side in (before, after))
    single_before, single_after = n_before < 2, n_after < 2  # noqa: PLR2004 - one run has no spread
    var_before = np.where(single_before, own_after, own_before)
    var_after = np.where(single_after, own_before, own_after)
    with np.errstate(all="ignore"):
        parts = var_before / n_before, var_after / n_after
        own = [np.where(n > 1, part**2 / (n - 1), 0.0) for part, n in zip(parts, (n_before, n_after), strict=True)]
        welch = (parts[0] + parts[1]) ** 2 / (own[0] + own[1])
        pooled = np.where(single_before, n_after - 1, n_before - 1)
        degrees = np.where(single_before | single_after, pooled, welch)
        error = np.sqrt(parts[0] + parts[1])
        band = np.where(error == 0, 0.0, student_t(np.nan_to_num(degrees, nan=1.0)) * error)
    return np.where(single_before & single_after, np.nan, band)
