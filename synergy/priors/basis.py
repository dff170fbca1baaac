"""The fixed orthonormal basis in which a denoiser states the variance of its error.

What a denoiser leaves open is correlated: bands go together, and so do neighbouring pixels where noise is
large. Variances alone say more in a basis that takes most of this out (Peng et al. 2024, arXiv 2402.02149,
for wavelets): the eigenvectors of the scenes' band-to-band covariance, times the Haar wavelets on blocks of
`patch` pixels, which is how far apart the network can tell pixels' places. Coefficient ``(j, i)`` of a block
stands at the place of its pixel ``(j, i)``, so that coefficients have the shape of a scene.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def haar(size: int) -> Float[np.ndarray, "size size"]:
    """Return the orthonormal Haar matrix, one wavelet per row, the mean first.

    Parameters
    ----------
    size
        A power of two.
    """
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        fine = np.kron(np.eye(len(matrix)), [1.0, -1.0])
        matrix = np.concatenate([np.kron(matrix, [1.0, 1.0]), fine]) / np.sqrt(2.0)
    return matrix


def analyse(
    scene: Float[Array, "*batch band y x"], modes: Float[Array, "band mode"], patch: int
) -> Float[Array, "*batch mode y x"]:
    """Return a scene's coefficients.

    Parameters
    ----------
    scene
        Scenes with sides that are multiples of `patch`.
    modes
        Orthonormal basis of the bands (`synergy.priors.covariance.SpectralCovariance.basis`).
    patch
        Side of the blocks, pixels, a power of two.
    """
    return _on_blocks(jnp.einsum("bm,...byx->...myx", modes, scene), haar(patch))


def synthesise(
    coefficients: Float[Array, "*batch mode y x"], modes: Float[Array, "band mode"], patch: int
) -> Float[Array, "*batch band y x"]:
    """Return the scene of given coefficients; the inverse, and the transpose, of `analyse`."""
    return jnp.einsum("bm,...myx->...byx", modes, _on_blocks(coefficients, haar(patch).T))


def _on_blocks(plane: Float[Array, "*batch y x"], matrix: Float[np.ndarray, "n n"]) -> Array:
    *batch, y, x = plane.shape
    n = len(matrix)
    weights = jnp.asarray(matrix, plane.dtype)
    blocks = plane.reshape(*batch, y // n, n, x // n, n)
    return jnp.einsum("ij,kl,...yjxl->...yixk", weights, weights, blocks).reshape(plane.shape)
