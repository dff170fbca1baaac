"""Preconditioning of the denoiser, adapted to each pixel's brightness.

EDM (Karras et al. 2022, sec. 5) writes a denoiser as ``D = c_skip x_t + c_out F`` with a network F of unit
size, for data of one standard deviation s. Galaxies are not such data: a nucleus is hundreds of times
brighter than s, and ``(1 - c_skip) x_t`` is then many sigmas that F would have to put back, to a fraction of
a per cent. So s is replaced, pixel by pixel, by

    s_eff^2 = s^2 + (e / (1 + (sigma / 0.1 s)^2))^2,    e = max(|x_t| - 6 sigma, 0),

what the noisy pixel itself, beyond doubt, says of its size: s where it is faint or drowned in noise, its own
value where it is bright. Then ``c_skip -> 1`` there, and what F has to learn is of order one. The excess e
fades out as sigma nears s: where the noise is as large as most of the scene, the plain form asks nothing
extreme of F, and a threshold in the middle of the image's brightness would be one more thing to learn. This
only chooses how the function is written down; what it converges to is the same.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BEYOND_DOUBT = 6.0
"""Sigmas of noise that a pixel must exceed before it counts as bright."""

FADING = 0.1
"""Noise level, in units of s, at which the excess has faded to a half."""


def effective_std(
    noisy: Float[Array, "..."], sigma: Float[Array, "..."], data_std: float
) -> Float[Array, "..."]:
    """Return s_eff of each pixel.

    Parameters
    ----------
    noisy
        Noisy scene in normalised units.
    sigma
        Noise level, broadcast against the scene.
    data_std
        Standard deviation s of the normalised scenes.
    """
    excess = jnp.maximum(jnp.abs(noisy) - np.float32(BEYOND_DOUBT) * sigma, 0.0)
    fading = 1.0 / (1.0 + (sigma / np.float32(FADING * data_std)) ** 2)
    return jnp.sqrt(np.float32(data_std) ** 2 + (fading * excess) ** 2)
