"""Which spatial frequencies of which band the data determine: effective transfer functions.

Under the prior's stationary Gaussian covariance P(k) (a band-by-band matrix at each spatial frequency) and
the circulant part M(k) of a likelihood's normal operator, the fraction of band b's prior variance that the
data remove is

    t_b(k) = 1 - [(P^-1 + M)^-1]_bb / P_bb,

one where the data decide, zero where the prior alone does. It is also the gain of the Wiener filter: what
remains of a true Fourier mode on average. Where PSF, pixels and noise let one image speak to one band,
``t = P |T|^2 / (P |T|^2 + N)``, the optical transfer function weighed by the noise. The curves of single
instruments beside that of all say what each contributes. `synergy.sampling.support` maps the same quantity
over pixels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from synergy.frame import Frame
from synergy.likelihood import GaussianLikelihood
from synergy.observation import Observation
from synergy.priors.diffusion import DiffusionPrior
from synergy.response import respond
from synergy.sampling.circulant import circulant_normal

JOINT = "joint"


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """Effective transfer functions, averaged over directions.

    Parameters
    ----------
    bands
        Bands of the scene.
    frequency
        Cycles per arcsec.
    curves
        Instrument, or `JOINT` -> fraction of each band's prior variance that its images remove.
    """

    bands: tuple[str, ...]
    frequency: Float[np.ndarray, " bin"]
    curves: Mapping[str, Float[np.ndarray, "band bin"]]


def instrument(observation: Observation) -> str:
    """Return the name under which an image's curve appears; VIS and NISP apart."""
    survey, _, letter = observation.band.partition(".")
    if survey == "euclid":
        return "VIS" if letter == "vis" else "NISP"
    return survey.upper()


def effective_transfer(
    observations: Sequence[Observation], prior: DiffusionPrior, frame: Frame, scale: float
) -> Transfer:
    """Work out the transfer functions of each instrument and of all together.

    Parameters
    ----------
    observations
        The images.
    prior
        Prior whose covariance the data compete with.
    frame
        Frame of the scene.
    scale
        The scene's flux scale, nJy/pixel (`Posterior.meta["scale"]`).
    """
    observations = respond(observations, prior.bands)
    likelihood = GaussianLikelihood.build(observations, frame, prior.bands)
    likelihood = likelihood.rescaled(jnp.float32(scale) * prior.band_scale)
    basis = np.asarray(prior.covariance.basis, np.float64)
    spectra = np.asarray(prior.covariance.spectra(*frame.shape), np.float64)
    variance = np.einsum("bm,myx,bm->yxb", basis, spectra, basis, optimize=True)
    precision = np.einsum("bm,myx,cm->yxbc", basis, 1.0 / spectra, basis, optimize=True)
    names = [instrument(observation) for observation in observations]
    groups = {name: [i for i, n in enumerate(names) if n == name] for name in dict.fromkeys(names)}
    normals = {name: circulant_normal(likelihood.subset(members)) for name, members in groups.items()}
    if len(groups) > 1:
        normals[JOINT] = sum(normals.values())
    along = (np.fft.fftfreq(frame.shape[0]), np.fft.rfftfreq(frame.shape[1]))
    radius = np.hypot(*np.meshgrid(*along, indexing="ij")) / frame.pixel_scale
    width = 1.0 / (min(frame.shape) * frame.pixel_scale)
    index = np.minimum((radius / width).round().astype(int), min(frame.shape) // 2)
    count = np.bincount(index.ravel())
    curves = {}
    for name, normal in normals.items():
        left = np.einsum("yxbb->yxb", np.linalg.inv(precision + normal))
        removed = 1.0 - left / variance
        sums = [np.bincount(index.ravel(), removed[..., b].ravel()) for b in range(len(prior.bands))]
        curves[name] = np.clip(np.stack(sums) / count, 0.0, 1.0)[:, :-1]
    return Transfer(prior.bands, np.arange(len(count) - 1) * width, curves)
