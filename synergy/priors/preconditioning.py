"""Preconditioning of the denoiser, adapted to each pixel's brightness.

EDM (Karras et al. 2022, sec. 5) writes a denoiser as ``D = c_skip x_t + c_out F`` with a network F of unit
size, for data of one standard deviation s. Galaxies and stars are not such data: a nucleus is hundreds of
times brighter than s, and ``(1 - c_skip) x_t`` is then many sigmas that F would have to put back, to a
fraction of a per cent. So s is replaced, pixel by pixel, by what the noisy pixel says of its size: with ``e =
max(|x_t| - 6 sigma, 0)``, which is beyond doubt, and ``b = max(e - 30 s, 0)``, which only stars have,

    s_1^2   = s^2 + f_1^2 e^2,      f_1 = s^2 / (s^2 + (10 sigma)^2),
    s_eff^2 = s_1^2 + f^2 b^2,      f   = s^2 / (s^2 + sigma^2).

All that is bright is followed at small noise, stars at larger noise, too. Where pixels are followed, ``c_skip
-> 1``, and what F has to learn is of order one; where they are faint or drowned in noise, nothing changes. As
sigma grows beyond s, stars are followed only in part. What stays open there is not their brightness but the
noise, of which nearly all can be told from the neighbours, so the scale of the output follows more slowly,

    c_skip = s_eff^2 / (sigma^2 + s_eff^2),    c_out = sigma s_out / sqrt(sigma^2 + s_eff^2),
    c_in = 1 / sqrt(sigma^2 + s_eff^2),        s_out = s_1 + f^2 (s_eff - s_1):

if it grew as s_eff does, errors of the untrained network at the brightest pixels would outgrow everything.

Whatever is followed has ``c_in x_t`` of order one, however bright it is, and what noise does to it is lost
there. So the network sees ``x_t / sqrt(sigma^2 + s_1^2)`` instead, linear up to 50 and as a logarithm beyond;
``c_in x_t`` is left as what its gate multiplies. All this only chooses how the function is written down; what
it converges to is the same.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BEYOND_DOUBT = 6.0
"""Sigmas of noise that a pixel must exceed before it counts as bright."""

NEAR = 0.1
"""Noise level, in units of s, at which half of the excess is followed whatever its size."""

STARS = 30.0
"""Size, in units of s, beyond which the excess is followed at larger noise, too."""

LINEAR = 50.0
"""Size, in units of the standard deviation, to which the network sees pixels on a linear scale."""


class Preconditioning(NamedTuple):
    """What a pixel's brightness makes of EDM's coefficients, each of the scene's shape.

    Parameters
    ----------
    skip, out, scale_in
        The coefficients c_skip, c_out and c_in.
    seen
        The pixel as the network sees it.
    certain
        Variance that the noisy pixel may be expected to have, all of its excess counted.
    """

    skip: Float[Array, "..."]
    out: Float[Array, "..."]
    scale_in: Float[Array, "..."]
    seen: Float[Array, "..."]
    certain: Float[Array, "..."]


def precondition(noisy: Float[Array, "..."], sigma: Float[Array, "..."], data_std: float) -> Preconditioning:
    """Return the coefficients of each pixel.

    Parameters
    ----------
    noisy
        Noisy scene in normalised units.
    sigma
        Noise level, broadcast against the scene.
    data_std
        Standard deviation s of the normalised scenes.
    """
    std = np.float32(data_std)
    excess = jnp.maximum(jnp.abs(noisy) - np.float32(BEYOND_DOUBT) * sigma, 0.0)
    star = jnp.maximum(excess - np.float32(STARS) * std, 0.0)
    near = std**2 / (std**2 + (sigma / np.float32(NEAR)) ** 2)
    followed = std**2 / (std**2 + sigma**2)
    size = jnp.sqrt(std**2 + (near * excess) ** 2)
    effective = jnp.sqrt(size**2 + (followed * star) ** 2)
    total = jnp.sqrt(sigma**2 + effective**2)
    linear = np.float32(LINEAR) * jnp.sqrt(sigma**2 + size**2)
    return Preconditioning(
        skip=(effective / total) ** 2,
        out=sigma * (size + followed**2 * (effective - size)) / total,
        scale_in=1.0 / total,
        seen=np.float32(LINEAR) * jnp.arcsinh(noisy / linear),
        certain=sigma**2 + std**2 + excess**2,
    )
