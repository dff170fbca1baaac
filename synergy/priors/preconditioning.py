"""Preconditioning of the denoiser, adapted to each pixel's brightness.

EDM (Karras et al. 2022, sec. 5) writes a denoiser as ``D = c_skip x_t + c_out F`` with a network F of unit
size, for data of one standard deviation s. Galaxies and stars are not such data: a nucleus is hundreds of
times brighter than s, and ``(1 - c_skip) x_t`` is then many sigmas that F would have to put back, to a
fraction of a per cent. So s is replaced, pixel by pixel, by

    s_eff^2 = s^2 + f^2 e^2,    e = max(|x_t| - 6 sigma, 0),    f = s^2 / (s^2 + sigma^2),

with e what the noisy pixel itself, beyond doubt, says of its size. Where it is bright, ``c_skip -> 1``, and
what F has to learn is of order one; where it is faint or drowned in noise, nothing changes. As sigma grows
beyond s, pixels are followed only in part. What stays open there is not their brightness but the noise,
of which nearly all can be told from the neighbours, so the scale of the output follows more slowly,

    c_skip = s_eff^2 / (sigma^2 + s_eff^2),    c_out = sigma s_out / sqrt(sigma^2 + s_eff^2),
    c_in = 1 / sqrt(sigma^2 + s_eff^2),        s_out = s + f^2 (s_eff - s):

if it grew as s_eff does, errors of the untrained network at the brightest pixels would outgrow everything.
This only chooses how the function is written down; what it converges to is the same.

Priors of the kind ``"faded"`` were trained with ``f = 1/(1 + (sigma / 0.1 s)^2)`` and ``s_out = s_eff``: they
follow pixels at small noise only, and learn stars slowly.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BEYOND_DOUBT = 6.0
"""Sigmas of noise that a pixel must exceed before it counts as bright."""

FADED = 0.1
"""Noise level, in units of s, at which half of the excess is followed by priors of the kind ``"faded"``."""

Kind = Literal["followed", "faded"]
"""How far bright pixels are followed."""


class Preconditioning(NamedTuple):
    """What a pixel's brightness makes of EDM's coefficients, each of the scene's shape.

    Parameters
    ----------
    skip, out, scale_in
        The coefficients c_skip, c_out and c_in.
    certain
        Variance that the noisy pixel may be expected to have, all of its excess counted.
    """

    skip: Float[Array, "..."]
    out: Float[Array, "..."]
    scale_in: Float[Array, "..."]
    certain: Float[Array, "..."]


def precondition(
    noisy: Float[Array, "..."], sigma: Float[Array, "..."], data_std: float, kind: Kind = "followed"
) -> Preconditioning:
    """Return the coefficients of each pixel.

    Parameters
    ----------
    noisy
        Noisy scene in normalised units.
    sigma
        Noise level, broadcast against the scene.
    data_std
        Standard deviation s of the normalised scenes.
    kind
        How far bright pixels are followed.
    """
    std = np.float32(data_std)
    excess = jnp.maximum(jnp.abs(noisy) - np.float32(BEYOND_DOUBT) * sigma, 0.0)
    reach = std if kind == "followed" else np.float32(FADED) * std
    followed = reach**2 / (reach**2 + sigma**2)
    effective = jnp.sqrt(std**2 + (followed * excess) ** 2)
    total = jnp.sqrt(sigma**2 + effective**2)
    size = std + followed**2 * (effective - std) if kind == "followed" else effective
    return Preconditioning(
        (effective / total) ** 2, sigma * size / total, 1.0 / total, sigma**2 + std**2 + excess**2
    )
