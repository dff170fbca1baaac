"""Fit a PSF model to stamps: penalised nonlinear least squares from several starting points.

The wavefront enters a PSF by the square of its even part, so that each fit has more than one minimum; a cheap
version of the telescope screens the starting points, and the best are polished.
"""

import dataclasses
import functools

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float

from synergy.psf_recovery.model import Grid, Telescope, evaluate, prior_of

_POLISHED = 2
_FIRST_GUESS = 1e-3  # error of stamp pixels relative to the peak, until it is known
_LEAST = 3e-5  # an error smaller than this is below the accuracy of the model's arithmetic
_SIMILAR = 10.0  # fits whose cost exceeds the least by no more are kept
_SAME = 0.03  # but for those whose parameters differ by no more, in standard deviations of the prior


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Stamps of one PSF, and the layout of the parameters: PSF, flux per stamp, centre(s) in arcsec.

    Parameters
    ----------
    stamps
        Images of a point source.
    pixel_scale
        Arcsec.
    telescope
        What made them.
    offsets
        Known displacements (y, x) of the source in arcsec, from a common unknown centre; None where each
        stamp's centre is unknown.
    reach
        Arcsec from each stamp's centre within which its pixels are data.
    """

    stamps: list[Float[np.ndarray, "_y _x"]]
    pixel_scale: float
    telescope: Telescope
    offsets: Float[np.ndarray, "stamp 2"] | None
    reach: float = np.inf

    @property
    def n_psf(self) -> int:
        """Number of parameters of the PSF itself."""
        return len(self.telescope.names) + 3

    @property
    def n_all(self) -> int:
        """Number of all parameters."""
        return self.n_psf + len(self.stamps) + 2 * (len(self.stamps) if self.offsets is None else 1)

    @functools.cached_property
    def used(self) -> Bool[np.ndarray, " m"]:
        """Which pixels of the stamps are data."""
        centred = [Grid.of_stamp(stamp.shape, self.pixel_scale, np.zeros(2)) for stamp in self.stamps]
        return np.concatenate([np.hypot(*grid.positions().T) <= self.reach for grid in centred])

    @property
    def data(self) -> Float[np.ndarray, " n"]:
        """The pixels of all stamps that are data."""
        return np.concatenate([stamp.ravel() for stamp in self.stamps])[self.used]

    def prior(self) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]]:
        """Return mean and standard deviation of all parameters; fluxes and centres are all but free."""
        mean, sigma = prior_of(self.telescope)
        flux = np.array([stamp.sum() for stamp in self.stamps])
        tail = np.zeros(self.n_all - self.n_psf - len(flux))
        loose = np.r_[0.5 * np.abs(flux), np.full(len(tail), 2 * self.pixel_scale)]
        return np.r_[mean, flux, tail], np.r_[sigma, loose]

    def centers(self, parameters: Float[np.ndarray, " q"]) -> Float[np.ndarray, "stamp 2"]:
        """Return the source's position (y, x) in arcsec from each stamp's centre."""
        centers = parameters[self.n_psf + len(self.stamps) :].reshape(-1, 2)
        return centers if self.offsets is None else centers + self.offsets

    def grids(self, parameters: Float[np.ndarray, " q"]) -> list[Grid]:
        """Return where each stamp's pixels lie relative to the source."""
        pairs = zip(self.stamps, self.centers(parameters), strict=True)
        return [Grid.of_stamp(stamp.shape, self.pixel_scale, center) for stamp, center in pairs]

    def positions(self, parameters: Float[np.ndarray, " q"]) -> Float[np.ndarray, "n 2"]:
        """Return (y, x) of every pixel of `data` relative to the source, in arcsec."""
        return np.concatenate([grid.positions() for grid in self.grids(parameters)])[self.used]

    def center_columns(self, stamp: int) -> slice:
        """Return which parameters are a stamp's centre."""
        first = self.n_psf + len(self.stamps) + (2 * stamp if self.offsets is None else 0)
        return slice(first, first + 2)

    def model(
        self, parameters: Float[np.ndarray, " q"], telescope: Telescope, jacobian: bool = True
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "_n q"]]:
        """Return the stamps that the parameters predict, and the derivatives (of no pixel, unless asked)."""
        n, area = self.n_psf, self.pixel_scale**2
        values, slopes = evaluate(
            telescope, parameters[:n], self.pixel_scale, self.grids(parameters), jacobian
        )
        prediction, blocks = [], []
        for index, (value, slope) in enumerate(zip(values, slopes, strict=True)):
            flux = parameters[n + index] * area
            prediction.append(flux * value.ravel())
            if not jacobian:
                continue
            block = np.zeros((value.size, self.n_all))
            block[:, :n] = flux * slope[:n].reshape(n, -1).T
            block[:, n + index] = area * value.ravel()
            block[:, self.center_columns(index)] = flux * slope[n:].reshape(2, -1).T
            blocks.append(block)
        derivatives = np.concatenate(blocks)[self.used] if blocks else np.zeros((0, self.n_all))
        return np.concatenate(prediction)[self.used], derivatives


def best_fits(problem: Problem, noise: float | None) -> list[Float[np.ndarray, " q"]]:
    """Return the parameters of the best fit, and of any other of similar merit.

    Parameters
    ----------
    problem
        Stamps and model.
    noise
        Standard deviation of the stamps' pixels; None where it is not known.
    """
    telescope, coarse = problem.telescope, problem.telescope.coarser()
    mean, _ = problem.prior()
    start = mean.copy()
    for index, stamp in enumerate(problem.stamps):
        if problem.offsets is None or index == 0:
            core = np.where(stamp > 0.3 * stamp.max(), stamp, 0)
            axes = [(np.arange(n) - (n - 1) / 2) * problem.pixel_scale for n in stamp.shape]
            center = np.array([core.sum(1) @ axes[0], core.sum(0) @ axes[1]]) / core.sum()
            start[problem.center_columns(index)] = center - (
                0 if problem.offsets is None else problem.offsets[0]
            )
    scale = max(_FIRST_GUESS, noise or 0.0)
    points = [np.r_[point, start[len(point) :]] for point in telescope.starts()]
    screened = sorted((_least_squares(problem, coarse, p, scale, 12) for p in points), key=lambda fit: fit[0])
    polished = [_least_squares(problem, telescope, p, scale, 15)[1] for _, p in screened[:_POLISHED]]
    rms = [float(np.sqrt(np.mean((problem.data - problem.model(p, telescope)[0]) ** 2))) for p in polished]
    scale = noise or max(min(rms), _LEAST)
    results = sorted(
        (_least_squares(problem, telescope, p, scale, 30) for p in polished), key=lambda fit: fit[0]
    )
    least, best = results[0]
    _, sigma = problem.prior()
    others = [fit for cost, fit in results[1:] if cost < least + _SIMILAR]
    return [best, *(fit for fit in others if np.abs((fit - best) / sigma).max() > _SAME)]


def _least_squares(
    problem: Problem,
    telescope: Telescope,
    start: Float[np.ndarray, " q"],
    scale: float,
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
        return np.concatenate([-model(z)[1] * sigma / scale, np.diag(penalised.astype(float))])

    result = scipy.optimize.least_squares(
        residuals, (start - mean) / sigma, jacobian, method="trf", max_nfev=evaluations, xtol=1e-6, ftol=1e-6
    )
    return float(result.cost), mean + sigma * result.x
