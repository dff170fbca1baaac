"""What denoisers do to scenes they have not seen, level by level.

*Light*: the mean of the denoised over that of the clean scenes. Denoisers are posterior means, so it is 1 at
every noise level; where it is less, drawn scenes are too empty. *Cosine*: two denoisers that were trained on
different halves of the data and have learned the same thing say the same of the same noisy scene, two that
have learned their data by heart do not (Kadkhodaie et al. 2024, arXiv 2310.02557). At small noise any two
agree on the scene, so the cosine is also given of the corrections ``D - x``; and beside it how far they are
apart, in units of how far they are from the truth: ``<(D1 - D2)^2> / <(D1 - x)^2 + (D2 - x)^2>``, which is 1
where their errors have nothing in common and 0 where they are the same function.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from synergy.priors.denoiser import Denoiser

_denoise = jax.jit(lambda denoiser, noisy, sigma: denoiser(noisy, sigma))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How two denoisers agree at one noise level.

    Parameters
    ----------
    sigma
        The level.
    cosine
        Mean cosine of the two estimates of a scene.
    cosine_of_corrections
        Mean cosine of what they take off the noisy scene.
    disagreement
        Mean square of their difference, in units of the sum of their mean squared errors.
    """

    sigma: float
    cosine: float
    cosine_of_corrections: float
    disagreement: float


def light_kept(
    denoiser: Denoiser,
    clean: Float[np.ndarray, "n band y x"],
    sigmas: Sequence[float],
    key: Array,
    batch: int = 4,
) -> Float[np.ndarray, "level 2"]:
    """Return the light of denoised over that of clean scenes at each noise level, and its standard error.

    Parameters
    ----------
    denoiser
        Prior.
    clean
        Held-out scenes in its units.
    sigmas
        Noise levels.
    key
        Random key of the noise.
    batch
        Scenes denoised side by side.
    """
    truth = clean.mean(axis=(1, 2, 3), dtype=np.float64)
    rows = []
    for level, sigma in enumerate(sigmas):
        noisy = _noisy(clean, sigma, jax.random.fold_in(key, level))
        light = np.concatenate([d.mean(axis=(1, 2, 3)) for d in _batches(denoiser, noisy, sigma, batch)])
        error = np.std(light - truth, ddof=1) / np.sqrt(len(truth))
        rows.append([light.mean() / truth.mean(), error / truth.mean()])
    return np.array(rows)


def agreement(
    denoisers: tuple[Denoiser, Denoiser],
    clean: Float[np.ndarray, "n band y x"],
    sigmas: Sequence[float],
    key: Array,
    batch: int = 4,
) -> list[Agreement]:
    """Compare two denoisers on the same noisy scenes.

    Parameters
    ----------
    denoisers
        Two priors of the same bands.
    clean
        Scenes neither has seen, in their units.
    sigmas
        Noise levels.
    key
        Random key of the noise.
    batch
        Scenes denoised side by side.
    """
    rows = []
    for level, sigma in enumerate(sigmas):
        noisy = _noisy(clean, sigma, jax.random.fold_in(key, level))
        first, second = (np.concatenate(_batches(d, noisy, sigma, batch)) for d in denoisers)
        errors = np.mean((first - clean) ** 2) + np.mean((second - clean) ** 2)
        apart = np.mean((first - second) ** 2)
        rows.append(
            Agreement(
                float(sigma),
                _cosine(first, second),
                _cosine(first - noisy, second - noisy),
                float(apart / errors) if errors > 0 else 0.0,
            )
        )
    return rows


def _noisy(
    clean: Float[np.ndarray, "n band y x"], sigma: float, key: Array
) -> Float[np.ndarray, "n band y x"]:
    return clean + np.float32(sigma) * np.asarray(jax.random.normal(key, clean.shape, jnp.float32))


def _batches(
    denoiser: Denoiser, noisy: Float[np.ndarray, "n band y x"], sigma: float, batch: int
) -> list[Float[np.ndarray, "_ band y x"]]:
    level = jnp.float32(sigma)
    parts = (jnp.asarray(noisy[i : i + batch]) for i in range(0, len(noisy), batch))
    return [np.asarray(_denoise(denoiser, part, level)) for part in parts]


def _cosine(first: Float[np.ndarray, "n band y x"], second: Float[np.ndarray, "n band y x"]) -> float:
    """Return the mean over the scenes of the cosine of two sets of images."""
    a, b = first.reshape(len(first), -1), second.reshape(len(second), -1)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(np.sum(a * b, axis=1)[length > 0] / length[length > 0]))
