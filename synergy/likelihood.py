"""The Gaussian likelihood of a scene, given all images.

    y_i = A_i x + n_i,    n_i ~ N(0, N_i),
    log p(y | x) = -1/2 sum_i (|W_i (y_i - A_i x)|^2 + log |2 pi N_i|)

with ``W_i^T W_i = N_i^-1`` and sums over the pixels that carry information. All methods take one scene
``(band, y, x)``; use `jax.vmap` for batches. Images and variances are leaves of the pytree, so that nothing
is compiled again when only data change.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.noise import Diagonal, Noise
from synergy.observation import Observation, response_row
from synergy.operators import Operator, inside
from synergy.psf import PSF
from synergy.stationary import Stationary

Images = tuple[Float[Array, "..."], ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GaussianLikelihood:
    """The likelihood of a scene.

    Parameters
    ----------
    operators
        One per image.
    images
        Data in nJy/pixel.
    noises
        Their noise.
    """

    operators: tuple[Operator, ...]
    images: Images
    noises: tuple[Noise, ...]

    @classmethod
    def build(
        cls,
        observations: Sequence[Observation],
        frame: Frame,
        bands: Sequence[str],
        dtype: DTypeLike = jnp.float32,
    ) -> "GaussianLikelihood":
        """Work out the operators of all images.

        Pixels whose centre lies outside the scene get no weight: the scene does not describe their sky.

        Parameters
        ----------
        observations
            Images of one sky.
        frame
            Pixel grid of the scene.
        bands
            Bands of the scene.
        dtype
            float32, or float64 where `jax_enable_x64` is on.

        Raises
        ------
        InputError
            If there is no observation, two share a name, an image sees a band that the scene lacks, or an
            image has no pixel with information inside the scene.
        """
        if not observations:
            raise InputError(
                "likelihood", "no observation", "at least one image", "Pass the images to explain."
            )
        names = [observation.name for observation in observations]
        if len(set(names)) < len(names):
            raise InputError("likelihood", f"the names {names}", "unique names", "Rename the observations.")
        operators, images, noises = [], [], []
        for observation in observations:
            row = response_row(observation, bands)
            try:
                positions = _on_scene(observation, frame)
                operators.append(_operator(observation, frame, row, bands, positions, dtype))
                ivar = observation.ivar * inside(frame, observation.frame, positions=positions)
            except InputError as error:
                raise InputError(observation.name, error.found, error.expected, error.remedy) from error
            if not np.any(ivar > 0):
                raise InputError(
                    observation.name,
                    "no pixel with information inside the scene",
                    "at least one",
                    "Check its mask and WCS, or drop it.",
                )
            images.append(jnp.asarray(observation.image.astype(dtype)))
            noises.append(_noise(observation, ivar, dtype))
        return cls(tuple(operators), tuple(images), tuple(noises))

    @property
    def scene_shape(self) -> tuple[int, int, int]:
        """Shape ``(band, y, x)`` of the scene."""
        return (self.operators[0].response.shape[-1], *self.operators[0].scene_shape)

    @property
    def n_pixels(self) -> Int[Array, " image"]:
        """Number of pixels that carry information, per image."""
        return jnp.stack([noise.n_pixels for noise in self.noises])

    def forward(self, scene: Float[Array, "band y x"]) -> Images:
        """Return the noise-free images ``A x``, nJy/pixel."""
        response = jnp.concatenate([operator.response for operator in self.operators])
        planes = jnp.einsum("tb,byx->tyx", response, scene, precision=jax.lax.Precision.HIGHEST)
        ends = np.cumsum([len(operator.response) for operator in self.operators])
        parts = jnp.split(planes, ends[:-1])
        return tuple(operator.image(part) for operator, part in zip(self.operators, parts, strict=True))

    def residuals(self, scene: Float[Array, "band y x"]) -> Images:
        """Return data minus prediction, nJy/pixel."""
        return jax.tree_util.tree_map(jnp.subtract, self.images, self.forward(scene))

    def whitened(self, scene: Float[Array, "band y x"]) -> Images:
        """Return the residuals in units of the noise; zero where there is no information."""
        return tuple(n.whiten(r) for n, r in zip(self.noises, self.residuals(scene), strict=True))

    def chi2(self, scene: Float[Array, "band y x"]) -> Float[Array, " image"]:
        """Return chi-squared per image."""
        return jnp.stack([jnp.sum(residual**2) for residual in self.whitened(scene)])

    def log_prob(self, scene: Float[Array, "band y x"]) -> Float[Array, ""]:
        """Return the normalised log-density of the data given a scene."""
        log_det = jnp.stack([noise.log_det for noise in self.noises])
        constant = self.n_pixels.astype(log_det.dtype) * math.log(2 * math.pi)
        return -0.5 * jnp.sum(self.chi2(scene) + log_det + constant)

    def score(self, scene: Float[Array, "band y x"]) -> Float[Array, "band y x"]:
        """Return the gradient of `log_prob`, ``A^T N^-1 (y - A x)``."""
        predicted, transpose = jax.vjp(self.forward, scene)
        return transpose(self._weighted(jax.tree_util.tree_map(jnp.subtract, self.images, predicted)))[0]

    def normal(self, scene: Float[Array, "band y x"]) -> Float[Array, "band y x"]:
        """Return the normal operator ``A^T N^-1 A x``."""
        predicted, transpose = jax.vjp(self.forward, scene)
        return transpose(self._weighted(predicted))[0]

    def adjoint(self, images: Images) -> Float[Array, "band y x"]:
        """Return ``A^T v`` for one array per image."""
        like = jax.ShapeDtypeStruct(self.scene_shape, self.operators[0].response.dtype)
        return jax.linear_transpose(self.forward, like)(images)[0]

    def data_adjoint(self) -> Float[Array, "band y x"]:
        """Return ``A^T N^-1 y``."""
        return self.adjoint(self._weighted(self.images))

    def rescaled(self, scale: Float[Array, " band"]) -> "GaussianLikelihood":
        """Return the likelihood of ``u = x / scale``.

        Parameters
        ----------
        scale
            Flux in nJy/pixel per unit of u, for each band.
        """
        return dataclasses.replace(self, operators=tuple(o.rescaled(scale) for o in self.operators))

    def subset(self, indices: Sequence[int]) -> "GaussianLikelihood":
        """Return the likelihood of some of the images.

        Parameters
        ----------
        indices
            Which ones.
        """
        parts = (self.operators, self.images, self.noises)
        return GaussianLikelihood(*(tuple(part[i] for i in indices) for part in parts))

    def _weighted(self, images: Images) -> Images:
        return tuple(noise.apply_inverse(image) for noise, image in zip(self.noises, images, strict=True))


def _operator(
    observation: Observation,
    frame: Frame,
    row: Float[np.ndarray, " band"],
    bands: Sequence[str],
    positions: Float[np.ndarray, "y x 2"] | None,
    dtype: DTypeLike,
) -> Operator:
    """Work out the operator of one observation, whatever its PSF."""
    psf = observation.psf
    if isinstance(psf, PSF):
        return Operator.build(frame, observation.frame, psf, row, dtype, positions=positions)
    rows = psf.rows(row, bands)
    used = np.flatnonzero(rows.any(axis=1))
    stamps = [psf.terms[t].psf for t in used]
    maps = None if psf.maps is None else psf.maps[used]
    return Operator.build(frame, observation.frame, stamps, rows[used], dtype, maps, positions)


def _on_scene(observation: Observation, frame: Frame) -> Float[np.ndarray, "y x 2"] | None:
    """Return where the pixels of an observation with a map of positions lie on the scene."""
    if observation.positions is None:
        return None
    return frame.to_pixels(SkyCoord(*np.moveaxis(observation.positions, -1, 0), unit="deg"))


def _noise(observation: Observation, ivar: Float[np.ndarray, "y x"], dtype: DTypeLike) -> Noise:
    """Return the noise of an image, of which only pixels with positive `ivar` carry information."""
    if observation.correlation is None:
        return Diagonal(jnp.asarray(ivar.astype(dtype)))
    return Stationary.build(ivar, observation.correlation, observation.independent, dtype)
