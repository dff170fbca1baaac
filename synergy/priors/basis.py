"""The fixed orthonormal basis in which a denoiser states the variance of its error.

What a denoiser leaves open is correlated: bands go together, and so do neighbouring pixels where noise is
large. Variances alone say more in a basis that takes most of this out (Peng et al. 2024, arXiv 2402.02149,
for wavelets): the eigenvectors of the scenes' band-to-band covariance, times the Haar wavelets on blocks of
`patch` pixels, which is how far apart the network can tell pixels' places. Coefficient ``(j, i)`` of a block
stands at the place of its pixel ``(j, i)``, so that coefficients have the shape of a scene.
"""

import jax
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
    return _on_blocks(to_modes(scene, modes), haar(patch))


def synthesise(
    coefficients: Float[Array, "*batch mode y x"], modes: Float[Array, "band mode"], patch: int
) -> Float[Array, "*batch band y x"]:
    """Return the scene of given coefficients; the inverse, and the transpose, of `analyse`."""
    return to_modes(_on_blocks(coefficients, haar(patch).T), modes.T)


def to_modes(
    scene: Float[Array, "*batch band y x"], modes: Float[Array, "band mode"]
) -> Float[Array, "*batch mode y x"]:
    """Return the maps of the modes; with the transpose of the modes, the bands of given maps."""
    # On a CPU, half the time of an einsum over the batch.
    return jnp.moveaxis(jnp.tensordot(modes, scene, [[0], [-3]]), 0, -3)


def _on_blocks(plane: Float[Array, "*batch y x"], matrix: Float[np.ndarray, "n n"]) -> Array:
    """Multiply both axes of each block by a matrix that is mostly zeros: sums, not products of matrices."""
    n = len(matrix)
    for axis in (plane.ndim - 2, plane.ndim - 1):
        parts = [jax.lax.slice_in_dim(plane, k, plane.shape[axis], n, axis) for k in range(n)]
        rows = [sum(np.float32(m) * p for m, p in zip(row, parts, strict=True) if m) for row in matrix]
        plane = jnp.stack(rows, axis=axis + 1).reshape(plane.shape)
    return plane
