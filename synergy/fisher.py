"""The diagonal of the Fisher information, ``diag(A^T N^-1 A)``: what the data alone say of each scene pixel.

The matrix is far too large to write down, but it is banded: a PSF reaches only so far. Point sources on a
comb wider than that do not meet in any image, so one application of the normal operator gives the diagonal at
all teeth at once, and shifting the comb over its own period gives it everywhere (Tang & Saad 2012, Numer.
Linear Algebra Appl. 19, 485). Random signs turn what little they do share into noise of mean zero. Where no
image sees more than one band of the scene, bands do not meet either, and one comb serves all.

The inverse square root is the error of a pixel if all others were known: a lower bound, far below the true
error of a deconvolved pixel.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.likelihood import GaussianLikelihood

_BATCH = 16


def comb_spacing(likelihood: GaussianLikelihood, tolerance: float) -> int:
    """Return how far apart point sources must be for their images not to share more than `tolerance`.

    Parameters
    ----------
    likelihood
        The likelihood.
    tolerance
        Share of the response at the source itself that counts as none.
    """
    bands, height, width = likelihood.scene_shape
    y, x = height // 2, width // 2
    points = jnp.zeros((bands, height, width), likelihood.images[0].dtype).at[:, y, x].set(1.0)
    response = np.abs(np.asarray(jax.jit(GaussianLikelihood.normal)(likelihood, points)))
    peak = response[:, y, x]
    shared = response[peak > 0] > tolerance * peak[peak > 0, None, None]
    along = np.maximum(np.abs(np.arange(height) - y)[:, None], np.abs(np.arange(width) - x)[None, :])
    return min(int(np.max(np.where(shared, along, 0), initial=0)) + 1, max(height, width))


def fisher_diagonal(
    likelihood: GaussianLikelihood, key: Array, tolerance: float = 0.01, spacing: int | None = None
) -> Float[np.ndarray, "band y x"]:
    """Return the diagonal of ``A^T N^-1 A``.

    Parameters
    ----------
    likelihood
        The likelihood.
    key
        Random key of the signs.
    tolerance
        Relative response at which the spacing is chosen; the error of a value is about as large.
    spacing
        Spacing of the comb in scene pixels, in place of one chosen by `tolerance`. At the size of the scene
        there is one point source per comb and the result is exact.

    Returns
    -------
    array
        Information in nJy^-2 for a likelihood in nJy.
    """
    bands, height, width = likelihood.scene_shape
    dtype = likelihood.images[0].dtype
    spacing = comb_spacing(likelihood, tolerance) if spacing is None else spacing
    rows = np.concatenate([np.asarray(operator.response) != 0 for operator in likelihood.operators])
    together = all(np.any(np.asarray(o.response) != 0, axis=0).sum() <= 1 for o in likelihood.operators)
    groups = np.ones((1, bands), bool) if together else np.eye(bands, dtype=bool)[rows.any(axis=0)]
    offsets = [(y, x) for y in range(min(spacing, height)) for x in range(min(spacing, width))]
    signs = jnp.where(jax.random.bernoulli(key, shape=(bands, height, width)), 1.0, -1.0).astype(dtype)

    @jax.jit
    def at_teeth(likelihood: GaussianLikelihood, start: Array, group: Array) -> Array:
        on_y = (jnp.arange(height, dtype=jnp.int32) - start[0]) % spacing == 0
        on_x = (jnp.arange(width, dtype=jnp.int32) - start[1]) % spacing == 0
        comb = jnp.where(group[:, None, None] & on_y[:, None] & on_x, signs, 0)
        return comb * likelihood.normal(comb)

    batched = jax.jit(jax.vmap(at_teeth, (None, 0, None)))
    result = np.zeros((bands, height, width))
    for group in groups:
        for begin in range(0, len(offsets), _BATCH):
            chunk = offsets[begin : begin + _BATCH]
            # The last batch is filled up, so that one shape is compiled; repeats are not added twice.
            starts = jnp.asarray(chunk + [chunk[-1]] * (_BATCH - len(chunk)), jnp.int32)
            values = batched(likelihood, starts, jnp.asarray(group))
            result += np.asarray(values[: len(chunk)]).sum(axis=0)
    return result
