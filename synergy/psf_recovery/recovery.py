"""Recover an oversampled effective PSF from stamps that undersample it or clip its wings.

Between the samples of an undersampled stamp nothing but knowledge of the telescope says what the PSF is.
`recover` fits a physical model (`model`) to one stamp, or to several that are displaced by
fractions of a pixel, and adds what the model does not explain as far as the stamps determine it
(`residual`). Beyond the stamp the model continues, so that light which the stamp has lost is
restored and not spread over the rest. It ends in a raised cosine between 0.8 and 1 times a radius of 3
arcsec, or of the stamp's width if that is more, and has unit sum there.

The best fit (`fit`) is refined together with the misfit. The stated error is `SIGNIFICANCE` times
the conditional standard deviation of the PSF where that is largest, the spread between fits of similar merit,
and `FLOOR`, added in quadrature; `tests/reference/test_psf_recovery.py` checks it against GalSim.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Num

from synergy.errors import InputError
from synergy.psf import PSF
from synergy.psf_recovery.fit import Problem, best_fits
from synergy.psf_recovery.model import Grid, Telescope, evaluate
from synergy.psf_recovery.residual import Misfit, Points, condition, cost, deviation, fit_misfit, interpolate
from synergy.windows import fade

SIGNIFICANCE = 4.0
"""Standard deviations in a stated error: it has to hold at some fifty independent places at once."""

FLOOR = 2e-3
"""What no stamp shows: the true pupil, spectrum and blur are not quite the model's (relative to the peak)."""

OVERSAMPLING = 4
"""Pixels of a recovered PSF per pixel of its stamp."""

_REFINEMENTS = 4
_SMALLEST = 5
_MOST = 450  # pixels per stamp that the misfit is found from
_RADIUS = 3.0
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
        Fitted position (y, x) of the source in pixels from each stamp's centre. `psf` is displaced by the
        first of them, unless it was asked for with ``center="source"``.
    parameters
        Fitted numbers of the model.
    misfit
        Rms misfit at the peak and noise, both relative to the peak.
    largest_residual
        Largest difference between the stamps and the model without the misfit, relative to the peak.
    inside
        Share of the PSF's light inside the (first) stamp.
    outside
        Share of the model's light that the end of the wings removed.
    """

    psf: PSF
    error: float
    center: Float[np.ndarray, "stamp 2"]
    parameters: dict[str, float]
    misfit: Misfit
    largest_residual: float
    inside: float
    outside: float


def recover(
    stamps: Num[np.ndarray, "_y _x"] | Sequence[Num[np.ndarray, "_y _x"]],
    pixel_scale: float,
    telescope: Telescope,
    *,
    offsets: Num[np.ndarray, "stamp 2"] | None = None,
    noise: float | None = None,
    center: Literal["stamp", "source"] | tuple[float, float] = "stamp",
    reach: float = math.inf,
    source: object = "PSF",
) -> RecoveredPSF:
    """Recover the oversampled effective PSF behind one or several stamps.

    Parameters
    ----------
    stamps
        One or several images of a point source, background subtracted, in any unit and of any size.
    pixel_scale
        Arcsec per pixel of the stamps, which is the detector's: the pixel's response is that of such a
        square.
    telescope
        What made them, such as `telescopes.telescope` returns.
    offsets
        Known displacements (y, x) in pixels of the source from stamp to stamp, relative to each stamp's
        centre; None to fit the position of each.
    noise
        Standard deviation of the stamps' pixels in their unit; None to find it.
    center
        What lies in the middle of the PSF: that of the (first) ``"stamp"``, the ``"source"``, or a position
        (y, x) in pixels of the stamp.
    reach
        Arcsec from the stamps' centres within which their pixels are used, for stamps that are tapered.
    source
        What to name in errors.

    Raises
    ------
    InputError
        If a stamp is not two-dimensional, not finite, smaller than 5 pixels or without light, if the pixel
        scale is not positive, or if offsets and stamps differ in number.
    """
    arrays = [stamps] if isinstance(stamps, np.ndarray) and stamps.ndim == 2 else list(stamps)
    arrays = [_checked(stamp, pixel_scale, source, center != "stamp" or len(arrays) > 1) for stamp in arrays]
    if not arrays or (offsets is not None and len(offsets) != len(arrays)):
        number = "none" if offsets is None else len(offsets)
        raise InputError(source, f"{len(arrays)} stamps, {number} offsets", "one of each", "Pair them.")
    unit = arrays[0].max()
    shifts = None if offsets is None else (offsets - np.mean(offsets, axis=0)) * pixel_scale
    problem = Problem([a / unit for a in arrays], float(pixel_scale), telescope, shifts, float(reach))
    if problem.data.size < _SMALLEST**2 * len(arrays):
        raise InputError(
            source, f"{problem.data.size} pixels within {reach} arcsec", "25 or more per stamp", "Use more."
        )
    known = None if noise is None else noise / unit
    size, step, end = _extent(arrays, pixel_scale)
    output = _Output(problem, size, step, center)
    fits = best_fits(problem, known)
    misfit = _misfit(problem, fits[0], known)
    refined = [_refine(output, fit, misfit) for fit in fits]
    images = [_core(output, *found[:3]) for found in refined]
    fit, bright, extra, largest = refined[0]
    spread = max(float(np.abs(image - images[0]).max()) for image in images) / images[0].max()
    grid = output.grid(fit)
    image = (
        evaluate(telescope.finer(), fit[: problem.n_psf], pixel_scale, [grid], jacobian=False)[0][0] * step**2
    )
    axis = (np.arange(size) - (size - 1) / 2) * step
    window = fade(np.hypot.outer(axis, axis), 0.8 * end, end)
    outside = 1 - float(np.sum(image * window))
    image[bright] += extra
    image *= window
    image /= image.sum()
    rest = problem.data - problem.model(fits[0], telescope)[0]
    names = (*telescope.names, "blur_yy", "blur_yx", "blur_xx")
    return RecoveredPSF(
        psf=PSF(image, step),
        error=math.hypot(SIGNIFICANCE * largest, spread, FLOOR),
        center=problem.centers(fit) / pixel_scale,
        parameters=dict(zip(names, map(float, fit), strict=False)),
        misfit=misfit,
        largest_residual=float(np.abs(rest).max() / problem.data.max()),
        inside=_inside(image, grid, problem.grids(fit)[0], pixel_scale),
        outside=outside,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Output:
    """Where the result's pixels lie."""

    problem: Problem
    size: int
    step: float
    center: str | tuple[float, float]

    def grid(self, parameters: Float[np.ndarray, " q"]) -> Grid:
        """Return the pixels relative to the source."""
        place = np.zeros(2)
        if self.center != "source":
            place = self.problem.centers(parameters)[0]
        if not isinstance(self.center, str):
            middle = (np.array(self.problem.stamps[0].shape) - 1) / 2
            place = place - (np.array(self.center) - middle) * self.problem.pixel_scale
        return Grid.of_stamp((self.size, self.size), self.step, place)

    def bright(self, parameters: Float[np.ndarray, " q"]) -> tuple[Points, Bool[np.ndarray, "y x"]]:
        """Return the bright pixels in the units of `Problem.model`, and which of all they are."""
        problem, n, area = self.problem, self.problem.n_psf, self.problem.pixel_scale**2
        grid = self.grid(parameters)
        half = float(np.abs(problem.positions(parameters)).max())
        near = [np.flatnonzero(np.abs(axis) < half) for axis in grid]
        part = Grid(grid.y[near[0]], grid.x[near[1]])
        values, slopes = evaluate(problem.telescope, parameters[:n], problem.pixel_scale, [part])
        bright = values[0] > _FAINT * values[0].max()
        jacobian = np.zeros((np.count_nonzero(bright), problem.n_all))
        jacobian[:, :n] = parameters[n] * area * slopes[0][:n, bright].T
        if self.center != "source":
            jacobian[:, problem.center_columns(0)] = parameters[n] * area * slopes[0][n:, bright].T
        everywhere = np.zeros((self.size, self.size), bool)
        everywhere[np.ix_(*near)] = bright
        points = Points(part.positions()[bright.ravel()], values[0][bright] / values[0].max(), jacobian)
        return points, everywhere


def _checked(
    stamp: Num[np.ndarray, "..."], pixel_scale: float, source: object, given: bool
) -> Float[np.ndarray, "y x"]:
    stamp = np.asarray(stamp, dtype=np.float64)
    anywhere = (0.0, 0.0) if given and stamp.ndim == 2 and stamp.size else None
    PSF.from_stamp(stamp, pixel_scale, source=source, center=anywhere)
    if min(stamp.shape) < _SMALLEST:
        raise InputError(
            source,
            f"a PSF stamp of shape {stamp.shape}",
            f"{_SMALLEST} pixels or more",
            "Use a larger stamp.",
        )
    return stamp


def _linearised(
    problem: Problem, fit: Float[np.ndarray, " q"], telescope: Telescope
) -> tuple[Float[np.ndarray, " n"], Points]:
    """Return residuals and model at the pixels that the misfit is found from: the brightest of many."""
    prediction, jacobian = problem.model(fit, telescope)
    use = np.argsort(-prediction)[: _MOST * len(problem.stamps)]
    points = Points(problem.positions(fit)[use], prediction[use] / prediction.max(), jacobian[use])
    return (problem.data - prediction)[use], points


def _misfit(problem: Problem, fit: Float[np.ndarray, " q"], noise: float | None) -> Misfit:
    rest, data = _linearised(problem, fit, problem.telescope)
    # A Gaussian of the model's flux and peak has this FWHM; the misfit is about as smooth as the diffraction.
    area = data.brightness.sum() / len(problem.stamps) * problem.pixel_scale**2
    fwhm = math.sqrt(area * 4 * math.log(2) / math.pi)
    few = slice(None, _MOST)
    data = Points(data.position[few], data.brightness[few], data.jacobian[few])
    return fit_misfit(rest[few], data, problem.prior()[1], 0.4 * fwhm, noise)


def _refine(
    output: _Output, fit: Float[np.ndarray, " q"], misfit: Misfit
) -> tuple[Float[np.ndarray, " q"], Bool[np.ndarray, "y x"], Float[np.ndarray, " m"], float]:
    """Return the fit that allows for the misfit; where and what to add per pixel; the largest sigma."""
    problem, telescope = output.problem, output.problem.telescope
    mean, sigma = problem.prior()
    rest, data = _linearised(problem, fit, telescope)
    for _ in range(_REFINEMENTS):
        change = condition(rest, data, sigma, fit - mean, misfit)
        least = cost(rest, data, (fit - mean) / sigma, misfit)
        for fraction in (1.0, 0.3, 0.1):
            trial = fit + fraction * change
            trial_rest, trial_data = _linearised(problem, trial, telescope)
            if cost(trial_rest, trial_data, (trial - mean) / sigma, misfit) < least:
                fit, rest, data = trial, trial_rest, trial_data
                break
        else:
            break
    where, bright = output.bright(fit)
    sigmas = deviation(data, sigma, misfit, where)
    rest, data = _linearised(problem, fit, telescope.finer())
    extra = interpolate(rest, data, misfit, where) / fit[problem.n_psf]
    return (
        fit,
        bright,
        extra * (output.step / problem.pixel_scale) ** 2,
        float(sigmas.max() / problem.data.max()),
    )


def _core(
    output: _Output,
    fit: Float[np.ndarray, " q"],
    bright: Bool[np.ndarray, "y x"],
    extra: Float[np.ndarray, " m"],
) -> Float[np.ndarray, "y x"]:
    """Return the inner part of the result of one fit."""
    grid = output.grid(fit)
    rows, columns = (
        slice(np.flatnonzero(bright.any(axis))[0], np.flatnonzero(bright.any(axis))[-1] + 1)
        for axis in (1, 0)
    )
    part = Grid(grid.y[rows], grid.x[columns])
    problem = output.problem
    values, _ = evaluate(problem.telescope, fit[: problem.n_psf], problem.pixel_scale, [part], jacobian=False)
    image = np.zeros(bright.shape)
    image[rows, columns] = values[0] * output.step**2
    image[bright] += extra
    return image * bright


def _extent(stamps: list[Float[np.ndarray, "_y _x"]], pixel_scale: float) -> tuple[int, float, float]:
    """Return size and pixel scale of the result, and where its wings end."""
    step = pixel_scale / OVERSAMPLING
    end = max(_RADIUS, max(max(stamp.shape) for stamp in stamps) * pixel_scale)
    return 2 * math.ceil(end / step) + 1, step, end


def _inside(image: Float[np.ndarray, "y x"], grid: Grid, stamp: Grid, pixel_scale: float) -> float:
    """Return the share of the light that falls on a stamp."""
    within = [
        (axis > edge[0] - pixel_scale / 2) & (axis < edge[-1] + pixel_scale / 2)
        for axis, edge in zip(grid, stamp, strict=True)
    ]
    return float(image[np.outer(*within)].sum())
