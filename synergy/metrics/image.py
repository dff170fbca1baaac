"""How close an estimated scene is to the truth, pixel by pixel."""

import numpy as np
from jaxtyping import Float


def nmse(
    estimate: Float[np.ndarray, "*band y x"], truth: Float[np.ndarray, "*band y x"]
) -> Float[np.ndarray, "*band"]:
    """Return the normalised mean squared error, ``sum (estimate - truth)^2 / sum truth^2`` over the pixels.

    Zero is perfect; an empty estimate scores one. It is dominated by the bright pixels.

    Parameters
    ----------
    estimate, truth
        Scenes in one unit.
    """
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    return np.sum((estimate - truth) ** 2, axis=(-2, -1)) / np.sum(truth**2, axis=(-2, -1))
