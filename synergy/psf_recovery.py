"""Recover an oversampled effective PSF from stamps that undersample it or clip its wings.

Between the samples of an undersampled stamp nothing but knowledge of the telescope says what the PSF is. `recover`
fits a physical model (`synergy.psf_model`) to one stamp, or to several that are displaced by fractions of a pixel,
and adds what the model does not explain as far as the stamps determine it (`synergy.psf_residual`). Beyond the stamp
the model continues, so that light which the stamp has lost is restored and not spread over the rest. It ends in a
raised cosine between 0.8 and 1 times `radius`, and has unit sum there.

The fit is penalised nonlinear least squares with exact derivatives, begun from several points, since the wavefront
enters by the square of its even part. Its optimum is refined together with the misfit, whose conditional variance,
with the spread between fits of similar merit, is the stated error: `SIGNIFICANCE` standard deviations, where it is
largest. `tests/reference/test_psf_recovery.py` checks it against GalSim.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.optimize
from jaxtyping import Float, Num

from synergy.errors import InputError
from synergy.psf import PSF
from synergy.psf_model import Grid, Telescope, evaluate, prior_of
from synergy.psf_residual import Misfit, Points, condition, fit_misfit

SIGNIFICANCE = 3.0
"""The stated error in standard deviations, at the position where they are largest."""

OVERSAMPLING = 4
"""Pixels of a recovered PSF per pixel of its stamp."""

_STARTS, _POLISHED = 6, 2
_FIRST_GUESS = 1e-3  # error of stamp pixels relative to the peak, until it is known
_FAINT = 1e-3  # below this brightness (relative to the peak), the misfit is not evaluated


@dataclasses.dataclass(frozen=True, eq=False)
class RecoveredPSF:
    """An oversampled PSF and how it was found.

    Parameters
    ----------
    psf
        Unit sum, oversampled, wings extended.
    error
        Stated error: bound on the difference to the true effective PSF relative to the peak, anywhere.
    center
        Fitted position (y, x) of the source in pixels from each stamp's centre. `psf` is displaced by the first of
        them, unless it was asked for with ``center="source"``.
    parameters
        Fitted numbers of the model.
    misfit
        Rms misfit at the peak and noise, both relative to the peak.
    largest_residual
        Largest difference between the stamps and the model without the misfit, relative to the peak.
    inside
        Share of the PSF's light inside the (first) stamp.
    outside
        Share of the model's light that the end at `radius` removed.
    """

    psf: PSF
    error: float
    center: Float[np.ndarray, "stamp 2"]
    parameters: dict[str, float]
    misfit: Misfit
    largest_residual: float
    inside: float
    outside: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """Stamps over the first one's peak; and the parameters' layout: PSF, flux of each stamp, centre(s) in arcsec."""

    stamps: list[Float[np.ndarray, "_y _x"]]
    pixel_scale: float
    telescope: Telescope
    offsets: Float[np.ndarray, "stamp 2"] | None

    @property
    def n_psf(self) -> int:
        return len(self.telescope.names) + 3

    @property
    def n_all(self) -> int:
        return self.n_psf + len(self.stamps) + 2 * (len(self.stamps) if self.offsets is None else 1)

    def prior(self) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
        mean, sigma = prior_of(self.telescope)
        rest = self.n_all - self.n_psf
        flux = np.array([stamp.sum() for stamp in self.stamps])
        tail = np.zeros(rest - len(flux))
        loose = np.r_[0.5 * np.abs(flux), np.full(len(tail), 2 * self.pixel_scale)]
        return np.r_[mean, flux, tail], np.r_[sigma, loose]

    def centers(self, parameters: Float[np.ndarray, " q"]) -> Float[np.ndarray, "stamp 2"]:
        centers = parameters[self.n_psf + len(self.stamps) :].reshape(-1, 2)
        return centers if self.offsets is None else centers + self.offsets

    def grids(self, parameters: Float[np.ndarray, " q"]) -> list[Grid]:
        pairs = zip(self.stamps, self.centers(parameters), strict=True)
        return [Grid.of_stamp(stamp.shape, self.pixel_scale, center) for stamp, center in pairs]

    def model(
        self, parameters: Float[np.ndarray, " q"], telescope: Telescope
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n q"]]:
        """Return the stamps that the parameters predict, and the derivatives."""
        n, area = self.n_psf, self.pixel_scale**2
        values, slopes = evaluate(telescope, parameters[:n], self.pixel_scale, self.grids(parameters))
        prediction, jacobian = [], []
        for index, (value, slope) in enumerate(zip(values, slopes, strict=True)):
            flux = parameters[n + index] * area
            block = np.zeros((value.size, self.n_all))
            block[:, :n] = flux * slope[:n].reshape(n, -1).T
            block[:, n + index] = area * value.ravel()
            first = n + len(self.stamps) + (2 * index if self.offsets is None else 0)
            block[:, first : first + 2] = flux * slope[n:].reshape(2, -1).T
            prediction.append(flux * value.ravel())
            jacobian.append(block)
        return np.concatenate(prediction), np.concatenate(jacobian)

    @property
    def data(self) -> Float[np.ndarray, " n"]:
        return np.concatenate([stamp.ravel() for stamp in self.stamps])


def recover(
    stamps: Num[np.ndarray, "_y _x"] | Sequence[Num[np.ndarray, "_y _x"]],
    pixel_scale: float,
    telescope: Telescope,
    *,
    offsets: Num[np.ndarray, "stamp 2"] | None = None,
    noise: float | None = None,
    center: Literal["stamp", "source"] = "stamp",
    radius: float | None = None,
    source: object = "PSF",
) -> RecoveredPSF:
    """Recover the oversampled effective PSF behind one or several stamps.

    Parameters
    ----------
    stamps
        One or several images of a point source, background subtracted, in any unit and of any size.
    pixel_scale
        Arcsec per pixel of the stamps, which is the detector's: the pixel's response is that of such a square.
    telescope
        What made them, such as `synergy.telescopes.telescope` returns.
    offsets
        Known displacements (y, x) in pixels of the source from stamp to stamp, relative to each stamp's centre; None
        to fit the position of each.
    noise
        Standard deviation of the stamps' pixels in their unit; None to find it.
    center
        ``"stamp"``: the source sits in the PSF where it sits in the (first) stamp; ``"source"``: in the middle.
    radius
        Arcsec at which the wings end; 3, or twice the half-width of the largest stamp if that is more, by default.
    source
        What to name in errors.

    Raises
    ------
    InputError
        If a stamp is not two-dimensional, not finite, smaller than 5 pixels or without light, if the pixel scale is
        not positive, or if offsets and stamps differ in number.
    """
    arrays = [stamps] if isinstance(stamps, np.ndarray) and stamps.ndim == 2 else list(stamps)
    arrays = [_checked(stamp, pixel_scale, source) for stamp in arrays]
    if not arrays or (offsets is not None and len(offsets) != len(arrays)):
        number = "none" if offsets is None else len(offsets)
        raise InputError(source, f"{len(arrays)} stamps, {number} offsets", "one of each", "Pair them.")
    unit = arrays[0].max()
    shifts = None if offsets is None else (offsets - np.mean(offsets, axis=0)) * pixel_scale
    problem = _Problem([a / unit for a in arrays], float(pixel_scale), telescope, shifts)
    relative = None if noise is None else noise / unit
    fits = _fits(problem, relative)
    fit = fits[0]
    mean, sigma = problem.prior()
    prediction, jacobian = problem.model(fit, telescope)
    peak = prediction.max()
    origin = problem.centers(fit)[0] * (center == "stamp")
    positions = [grid.positions() for grid in problem.grids(fit)]
    data = Points(np.concatenate(positions), prediction / peak, jacobian)
    residual = problem.data - prediction
    length = _correlation_length(prediction, pixel_scale, len(arrays))
    misfit = fit_misfit(residual, data, sigma, length, relative)
    half = max(max(a.shape) for a in arrays) * pixel_scale / 2
    radius = max(3.0, 2 * half) if radius is None else radius
    step = pixel_scale / OVERSAMPLING
    size = 2 * math.ceil(radius / step) + 1
    grid = Grid.of_stamp((size, size), step, origin)
    where, bright = _where(problem, fit, grid, half, center == "stamp")
    change, extra, deviation = condition(residual, data, sigma, fit - mean, misfit, where)
    final = fit + change
    spread = max((_difference(problem, fit, other, grid, half) for other in fits[1:]), default=0.0)
    image = evaluate(telescope.finer(), final[: problem.n_psf], pixel_scale, [grid], jacobian=False)[0][0] * step**2
    flux = final[problem.n_psf]
    image[bright] += extra / flux * (step / pixel_scale) ** 2
    image *= _end(grid, radius, origin)
    total = float(image.sum())
    inside = np.outer(*(np.abs(axis + o) <= n * pixel_scale / 2 for axis, o, n in zip(grid, origin, arrays[0].shape, strict=True)))
    names = (*telescope.names, "blur_yy", "blur_yx", "blur_xx")
    return RecoveredPSF(
        psf=PSF(image / total, step),
        error=float(np.hypot(SIGNIFICANCE * deviation.max() / peak, spread)),
        center=problem.centers(final) / pixel_scale,
        parameters=dict(zip(names, map(float, final), strict=False)),
        misfit=misfit,
        largest_residual=float(np.abs(residual).max() / peak),
        inside=float(image[inside].sum() / total),
        outside=1 - total,
    )


def _checked(stamp: Num[np.ndarray, "..."], pixel_scale: float, source: object) -> Float[np.ndarray, "y x"]:
    stamp = np.asarray(stamp, dtype=np.float64)
    PSF.from_stamp(stamp, pixel_scale, source=source, center=(0.0, 0.0) if stamp.ndim == 2 else None)
    if min(stamp.shape) < 5:
        raise InputError(
            source, f"a PSF stamp of shape {stamp.shape}", "5 pixels or more", "Use a larger stamp."
        )
    return stamp


def _fits(problem: _Problem, noise: float | None) -> list[Float[np.ndarray, " q"]]:
    """Return the best fit, and any other of similar merit."""
    telescope, coarse = problem.telescope, problem.telescope.coarser()
    mean, _ = problem.prior()
    start = mean.copy()
    for index, stamp in enumerate(problem.stamps):
        if problem.offsets is None or index == 0:
            core = np.where(stamp > 0.3 * stamp.max(), stamp, 0)
            axes = [(np.arange(n) - (n - 1) / 2) * problem.pixel_scale for n in stamp.shape]
            center = np.array([core.sum(1) @ axes[0], core.sum(0) @ axes[1]]) / core.sum()
            first = problem.n_psf + len(problem.stamps) + 2 * index
            start[first : first + 2] = center - (0 if problem.offsets is None else problem.offsets[0])
    scale = np.full(problem.data.size, max(_FIRST_GUESS, noise or 0.0))
    screened = []
    for point in telescope.starts(_STARTS):
        begin = np.r_[point, start[len(point) :]]
        screened.append(_least_squares(problem, coarse, begin, scale, 8))
    screened.sort(key=lambda item: item[0])
    results = []
    for _, begin in screened[:_POLISHED]:
        _, fit = _least_squares(problem, telescope, begin, scale, 10)
        found = problem.data - problem.model(fit, telescope)[0]
        rms = noise or max(float(np.sqrt(np.mean(found**2))), 3e-5)
        weight = np.full(found.size, rms)
        results.append((*_least_squares(problem, telescope, fit, weight, 20), rms))
    results.sort(key=lambda item: item[0])
    best, _, rms = results[0]
    return [fit for cost, fit, _ in results if cost < best + 10]


def _least_squares(
    problem: _Problem,
    telescope: Telescope,
    start: Float[np.ndarray, " q"],
    scale: Float[np.ndarray, " n"],
    evaluations: int,
) -> tuple[float, Float[np.ndarray, " q"]]:
    """Return the cost (half of chi2 and penalty) and the parameters where it is least."""
    mean, sigma = problem.prior()
    memory: dict[bytes, tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n q"]]] = {}

    def model(z: Float[np.ndarray, " q"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n q"]]:
        key = z.tobytes()
        if key not in memory:  # least_squares asks for values and derivatives of the same point in turn
            memory.clear()
            memory[key] = problem.model(mean + sigma * z, telescope)
        return memory[key]

    penalised = np.arange(len(mean)) < problem.n_psf

    def residuals(z: Float[np.ndarray, " q"]) -> Float[np.ndarray, " m"]:
        return np.r_[(problem.data - model(z)[0]) / scale, (z * penalised)]

    def jacobian(z: Float[np.ndarray, " q"]) -> Float[np.ndarray, "m q"]:
        return np.concatenate([-model(z)[1] * sigma / scale[:, None], np.diag(penalised.astype(float))])

    result = scipy.optimize.least_squares(
        residuals, (start - mean) / sigma, jacobian, method="trf", max_nfev=evaluations, xtol=1e-6, ftol=1e-6
    )
    return float(result.cost), mean + sigma * result.x


def _correlation_length(prediction: Float[np.ndarray, " n"], pixel_scale: float, number: int) -> float:
    """Return 0.4 times the FWHM of a Gaussian with the flux and peak of the model."""
    area = prediction.sum() / number / prediction.max() * pixel_scale**2
    return 0.4 * math.sqrt(area * 4 * math.log(2) / math.pi)


def _where(
    problem: _Problem, fit: Float[np.ndarray, " q"], grid: Grid, half: float, displaced: bool
) -> tuple[Points, np.ndarray]:
    """Return the bright positions of the output in units of the stamp's pixels, and which those are."""
    near = [np.flatnonzero(np.abs(axis) < half) for axis in grid]
    part = Grid(grid.y[near[0]], grid.x[near[1]])
    n, area = problem.n_psf, problem.pixel_scale**2
    values, slopes = evaluate(problem.telescope, fit[:n], problem.pixel_scale, [part])
    bright = values[0] > _FAINT * values[0].max()
    jacobian = np.zeros((np.count_nonzero(bright), problem.n_all))
    jacobian[:, :n] = fit[n] * area * slopes[0][:n, bright].T
    if displaced:
        first = n + len(problem.stamps)
        jacobian[:, first : first + 2] = fit[n] * area * slopes[0][n:, bright].T
    everywhere = np.zeros((grid.y.size, grid.x.size), bool)
    everywhere[np.ix_(*near)] = bright
    position = part.positions()[bright.ravel()]
    return Points(position, values[0][bright] / values[0].max(), jacobian), everywhere


def _difference(
    problem: _Problem, fit: Float[np.ndarray, " q"], other: Float[np.ndarray, " q"], grid: Grid, half: float
) -> float:
    """Return the largest difference between two fits' PSFs relative to the peak."""
    near = [np.flatnonzero(np.abs(axis) < half) for axis in grid]
    part = Grid(grid.y[near[0]], grid.x[near[1]])
    images = [
        evaluate(problem.telescope, p[: problem.n_psf], problem.pixel_scale, [part], jacobian=False)[0][0]
        for p in (fit, other)
    ]
    return float(np.abs(images[0] - images[1]).max() / images[0].max())


def _end(grid: Grid, radius: float, origin: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "y x"]:
    """Return a round window about the output's centre: 1 out to 0.8 of the radius, then down to 0."""
    distance = np.hypot((grid.y + origin[0])[:, None], grid.x + origin[1])
    return 0.5 * (1 + np.cos(np.pi * np.clip((distance / radius - 0.8) / 0.2, 0, 1)))
