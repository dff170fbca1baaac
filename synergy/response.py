r"""Bands that the scene does not have: a weighted sum of those it has, with a stated error.

A scene has a fixed set of bands; data come in others: MegaCam u is not LSST u, HST F814W covers i and z.
Such an image is modelled as a non-negative combination of scene bands,

.. math:: f_\mathrm{band} \approx \sum_b r_b f_b,

with one row of weights for all sources, fitted by non-negative least squares to the fluxes of a library of
galaxy SEDs (`synergy.templates`) at redshifts 0 to 2 with and without dust. Only scene bands whose filter
overlaps the band in wavelength take part, and of those as few as explain it. The row is linear in flux, so
the likelihood stays linear. What the row cannot explain is an error of the *model*, not of the image:
`respond` adds ``(error * |image|)**2`` to the variance, with the relative rms residual of the
galaxy type that the row describes worst as the error. That treats it as independent between pixels, which it
is not (one galaxy has one SED): the best that a diagonal likelihood can say.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from synergy.errors import InputError
from synergy.filters import filter_curve
from synergy.observation import Observation
from synergy.templates import template_fluxes

REDSHIFTS = np.round(np.arange(0.0, 2.001, 0.1), 3)
REDDENINGS = (0.0, 0.15, 0.3)
MOST_BANDS = 3
FAINT = 0.1
"""Errors are relative to the flux in the band, but to no less than this share of the SED's mean flux."""


@dataclasses.dataclass(frozen=True)
class Response:
    """How a band is made of scene bands.

    Parameters
    ----------
    band
        The band.
    row
        Scene band -> weight.
    error
        Relative rms error over the library, of the galaxy type with the largest.
    """

    band: str
    row: dict[str, float]
    error: float


@functools.lru_cache(maxsize=256)
def fit_response(band: str, scene_bands: tuple[str, ...]) -> Response:
    """Fit the weights of the scene bands in a band.

    Parameters
    ----------
    band
        Name of the band, such as ``"hst.F814W"``.
    scene_bands
        Bands of the scene.

    Raises
    ------
    InputError
        If the band is unknown or overlaps no band of the scene.
    """
    if band in scene_bands:
        return Response(band, {band: 1.0}, 0.0)
    low, high = _range(band)
    near = [b for b in scene_bands if _range(b)[0] < high and _range(b)[1] > low]
    if not near:
        raise InputError(
            f"band {band}",
            f"light from {low:.0f} to {high:.0f} Angstrom",
            f"overlap with a band of the scene ({', '.join(scene_bands)})",
            "Leave the image out, or use a prior that has such a band.",
        )
    library = _library((band, *scene_bands))
    flux = dict(zip((band, *scene_bands), library.T, strict=True))
    scale = np.maximum(flux[band], FAINT * library.mean(axis=1))
    fits = []
    for count in range(1, min(MOST_BANDS, len(near)) + 1):
        for chosen in itertools.combinations(near, count):
            design = np.stack([flux[b] / scale for b in chosen], axis=1)
            weights, _ = nnls(design, flux[band] / scale)
            residual = design @ weights - flux[band] / scale
            # Rows of the library: redshift, type, dust. The error is that of the type it describes worst.
            squares = np.reshape(residual**2, (len(REDSHIFTS), -1, len(REDDENINGS)))
            fits.append((float(np.sqrt(squares.mean(axis=(0, 2)).max())), chosen, weights))
    best = min(error for error, _, _ in fits)
    # The smallest set of bands that is nearly as good as the best.
    error, chosen, weights = next(
        fit
        for count in range(1, MOST_BANDS + 1)
        for fit in sorted((f for f in fits if len(f[1]) == count), key=_error)
        if fit[0] <= 1.1 * best + 1e-3
    )
    row = {b: float(w) for b, w in zip(chosen, weights, strict=True) if w > 1e-3}
    return Response(band, row, error)


def respond(observations: Sequence[Observation], scene_bands: Sequence[str]) -> list[Observation]:
    """Give observations of other bands their response rows, and model errors their share of the variance.

    Parameters
    ----------
    observations
        Images in any bands. `Observation.response_error` may hold a calibration error already.
    scene_bands
        Bands of the scene (of the prior).

    Returns
    -------
    list[Observation]
        Ready for the likelihood: with a response where needed, ``(error * image)**2`` added to the
        variance, the error moved to ``meta["response_error"]`` (so that a second call adds nothing), and a
        note.

    Raises
    ------
    InputError
        If a band is unknown or overlaps no band of the scene.
    """
    return [_respond(observation, tuple(scene_bands)) for observation in observations]


def _respond(observation: Observation, scene_bands: tuple[str, ...]) -> Observation:
    error, row, notes = observation.response_error, observation.response, []
    if row is None and observation.band not in scene_bands:
        try:
            fit = fit_response(observation.band, scene_bands)
        except InputError as problem:
            raise InputError(
                observation.name, f"{problem.source}: {problem.found}", problem.expected, problem.remedy
            ) from problem
        row, error = fit.row, float(np.hypot(error, fit.error))
        terms = " + ".join(f"{weight:.3f} {band}" for band, weight in fit.row.items())
        notes.append(f"{observation.band} = {terms}, to {fit.error:.1%} rms for the worst galaxy type")
    if error == 0.0 and row is observation.response:
        return observation
    added = (error * observation.image) ** 2
    variance = 1.0 / np.where(observation.mask, 1.0, observation.ivar) + added
    independent = observation.independent
    if observation.correlation is not None:
        independent = added if independent is None else independent + added
    meta = observation.meta | {"response_error": error, "notes": [*observation.meta.get("notes", []), *notes]}
    return dataclasses.replace(
        observation,
        ivar=np.where(observation.mask, 0.0, 1.0 / variance),
        response=row,
        response_error=0.0,
        independent=independent,
        meta=meta,
    )


def _error(fit: tuple[float, tuple[str, ...], Float[np.ndarray, "..."]]) -> float:
    return fit[0]


def _range(band: str) -> tuple[float, float]:
    """Return where a filter transmits more than a tenth of its maximum, in Angstrom."""
    wavelength, transmission = filter_curve(band)
    open_ = wavelength[transmission > 0.1 * transmission.max()]
    return float(open_.min()), float(open_.max())


@functools.lru_cache(maxsize=32)
def _library(bands: tuple[str, ...]) -> Float[np.ndarray, "sed band"]:
    return np.concatenate([template_fluxes(bands, float(z), ebv=REDDENINGS) for z in REDSHIFTS])
