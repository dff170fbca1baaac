"""Preconditioning of the denoiser, adapted to each pixel's brightness.

EDM (Karras et al. 2022, sec. 5) writes a denoiser as ``D = c_skip x_t + c_out F`` with a network F of unit
size, for data of one standard deviation s. Galaxies are not such data: a nucleus is hundreds of times
brighter than s, and ``(1 - c_skip) x_t`` is then many sigmas that F would have to put back, to a fraction of
a per cent. So s is replaced, pixel by pixel, by

    s_eff^2 = s^2 + (f e(0) + (1 - f) e(t))^2,
    e(t) = max(|x_t| - 6 sigma - t s, 0),    f = 1 / (1 + (sigma / 0.1 s)^2),

what the noisy pixel itself, beyond doubt, says of its size: s where it is faint or drowned in noise, its own
value where it is bright. Then ``c_skip -> 1`` there, and what F has to learn is of order one. As sigma nears
s, only pixels far brighter than the scene are followed, with t = 20 stars and the sharpest nuclei: where the
noise is as large as most of the scene, the plain form asks nothing extreme of F, and a threshold in the
middle of the image's brightness would be one more thing to learn. This only chooses how the function is
written down; what it converges to is the same.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BEYOND_DOUBT = 6.0
"""Sigmas of noise that a pixel must exceed before it counts as bright."""

FADING = 0.1
"""Noise level, in units of s, at which half of the excess counts from zero, half from the extreme."""


def effective_std(
    noisy: Float[Array, "..."], sigma: Float[Array, "..."], data_std: float, extreme: float | None = None
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
    extreme
        Brightness t above which pixels are followed at every noise level, in units of s; None for never.
    """
    beyond = jnp.abs(noisy) - np.float32(BEYOND_DOUBT) * sigma
    fading = 1.0 / (1.0 + (sigma / np.float32(FADING * data_std)) ** 2)
    excess = fading * jnp.maximum(beyond, 0.0)
    if extreme is not None:
        excess += (1.0 - fading) * jnp.maximum(beyond - np.float32(extreme * data_std), 0.0)
    return jnp.sqrt(np.float32(data_std) ** 2 + excess**2)
