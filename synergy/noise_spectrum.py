r"""Measure the autocorrelation of noise, from blank sky with holes or from realisations of the noise.

The covariance at a separation is the mean product of all pairs of good pixels at it, so that holes bias
nothing. Tapered, its Fourier transform is the power spectrum (Blackman & Tukey 1958). On its own that fails
for resampled noise, whose power varies a thousandfold: the window leaks power from the high plateau into
the deep valleys, where the true power is below the leak. The remedy is theirs too, *prewhitening*: predict
each pixel from its neighbours with the first estimate, measure the spectrum of the errors of prediction,
which is nearly flat so that nothing leaks, and multiply the estimate by its ratio to what was expected;
`ROUNDS` times. Pixels with a hole among their neighbours take no part.

Blank sky also holds what is not noise: background errors, wings, galaxies too faint to find. Their
covariance has a longer reach than the noise's; its mean at separations of two to three PSF widths is
subtracted at all separations.

With a taper of reach `R`, the relative variance of the power at each mode is about ``0.3 R^2`` over the
number of good pixels, and chi2 per pixel of *other* noise is too high by about as much: 0.3 % for 8000 pixels
and a reach of 9.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.fft import irfft2, next_fast_len, rfft2

from synergy.errors import InputError
from synergy.sparse_root import RADIUS, one_step_prediction, stencil
from synergy.stationary import FLOOR

ROUNDS = 5
_LEAST_GAIN = 0.1  # a round changes the power by no more than this factor down


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseCorrelation:
    """Variance and autocorrelation of noise.

    Parameters
    ----------
    variance
        Variance of single pixels.
    correlation
        Autocorrelation; zero separation in the middle.
    chi2
        Mean of measured over floored power: the chi2 per pixel to expect.
    """

    variance: float
    correlation: Float[np.ndarray, "dy dx"]
    chi2: float


def correlation_factor(correlation: Float[np.ndarray, "dy dx"] | None, sigma: float) -> float:
    """Return the ratio of variances of a Gaussian-weighted average: correlated over independent pixels.

    Parameters
    ----------
    correlation
        Autocorrelation, or None for independent pixels.
    sigma
        Standard deviation of the weights in pixels.
    """
    if correlation is None:
        return 1.0
    along_y, along_x = (np.exp(-((np.arange(n) - n // 2) ** 2) / (4 * sigma**2)) for n in correlation.shape)
    return float(along_y @ correlation @ along_x)


def correlation_of_sky(
    image: Float[np.ndarray, "y x"],
    blank: Bool[np.ndarray, "y x"],
    reach: int,
    floor: float = FLOOR,
) -> NoiseCorrelation:
    """Measure the noise of one image on its blank sky.

    Parameters
    ----------
    image
        Image with roughly uniform noise (divided by its rms map where there is one).
    blank
        True where there is neither a source nor a bad pixel.
    reach
        Largest separation in pixels at which noise is correlated; the covariance from there to one and a half
        times as far is taken as that of the background.
    floor
        Least power over the mean power.

    Raises
    ------
    InputError
        If fewer than two pixels are blank, or they do not vary.
    """
    _check(image, blank)
    return _measure([np.where(blank, image - image[blank].mean(), 0.0)], blank, reach, floor, True)


def correlation_of_realisations(
    stack: Float[np.ndarray, "realisation y x"],
    good: Bool[np.ndarray, "y x"] | None = None,
    reach: int = 10,
    floor: float = FLOOR,
) -> NoiseCorrelation:
    """Measure noise on realisations of it, such as a pipeline makes by sending pure noise through its steps.

    Parameters
    ----------
    stack
        Images of nothing but noise of mean zero, of roughly uniform rms.
    good
        True where pixels are usable, in all images alike; all when omitted.
    reach
        Largest separation in pixels at which noise is correlated.
    floor
        Least power over the mean power.

    Raises
    ------
    InputError
        If fewer than two pixels are good, or they do not vary.
    """
    good = np.ones(stack.shape[1:], bool) if good is None else good
    for image in stack:
        _check(image, good)
    return _measure([np.where(good, image, 0.0) for image in stack], good, reach, floor, False)


def pair_sums(
    values: Float[np.ndarray, "y x"], kept: Bool[np.ndarray, "y x"], reach: int
) -> tuple[Float[np.ndarray, "dy dx"], Float[np.ndarray, "dy dx"]]:
    """Sum the products, and count the pairs, of kept pixels at every separation up to `reach`.

    Parameters
    ----------
    values
        Values; zero where not kept.
    kept
        Which pixels count.
    reach
        Largest separation along either axis.
    """
    shape = [next_fast_len(max(n, reach + 1) + reach, real=True) for n in values.shape]

    def correlate(array: np.ndarray) -> np.ndarray:
        full = irfft2(np.abs(rfft2(array, shape)) ** 2, shape)
        return np.roll(full, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]

    return correlate(values), np.round(correlate(kept.astype(float)))


def _measure(
    images: list[Float[np.ndarray, "y x"]],
    kept: Bool[np.ndarray, "y x"],
    reach: int,
    floor: float,
    background: bool,
) -> NoiseCorrelation:
    covariance = _tapered(images, kept, reach, background)
    variance = float(covariance[reach, reach])
    if variance <= 0:
        raise _no_noise("noise without a variance of its own beside that of the background")
    # Spectra are kept on a torus of their own, so that nothing depends on the image's shape.
    period = (next_fast_len(6 * reach, real=True),) * 2
    power = _spectrum(covariance, period)
    offsets = _longest_prediction(kept)
    inner = _surrounded(kept, offsets)
    for _ in range(ROUNDS):
        power = np.maximum(power, floor * irfft2(power, period)[0, 0])
        weights = one_step_prediction(irfft2(power, period), offsets)
        white = [_predicted_error(image, weights, offsets, inner) for image in images]
        measured = _tapered(white, inner, reach, background)
        # Smoothed by the same window, so that a model that is right stays as it is.
        expected = _window(reach) * _centred(
            irfft2(power * _response(weights, offsets, period), period), reach
        )
        power = power * np.maximum(_spectrum(measured, period) / _spectrum(expected, period), _LEAST_GAIN)
    floored = np.maximum(power, floor * irfft2(power, period)[0, 0])
    chi2 = float(irfft2(power / floored, period)[0, 0])
    made = irfft2(floored, period)
    return NoiseCorrelation(float(made[0, 0]), _centred(made / made[0, 0], 2 * reach), chi2)


def _longest_prediction(kept: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "offset 2"]:
    """Return the neighbours to predict from: as many as leave most good pixels usable."""
    for radius in (RADIUS, 4, 3, 2):
        offsets = stencil(radius)
        if _surrounded(kept, offsets).sum() > 0.6 * kept.sum():
            break
    return offsets


def _surrounded(
    kept: Bool[np.ndarray, "y x"], offsets: Int[np.ndarray, "offset 2"]
) -> Bool[np.ndarray, "y x"]:
    """Return which pixels are kept together with all their neighbours."""
    return np.logical_and.reduce(_neighbours(kept, offsets))


def _neighbours(
    image: Shaped[np.ndarray, "y x"], offsets: Int[np.ndarray, "offset 2"]
) -> list[Shaped[np.ndarray, "y x"]]:
    radius = int(np.abs(offsets).max())
    padded, (ny, nx) = np.pad(image, radius), image.shape
    return [padded[radius + y : radius + y + ny, radius + x : radius + x + nx] for y, x in offsets]


def _predicted_error(
    image: Float[np.ndarray, "y x"],
    weights: Float[np.ndarray, " offset"],
    offsets: Int[np.ndarray, "offset 2"],
    inner: Bool[np.ndarray, "y x"],
) -> Float[np.ndarray, "y x"]:
    total = np.zeros(image.shape)
    for weight, neighbour in zip(weights, _neighbours(image, offsets), strict=True):
        total += weight * neighbour
    return np.where(inner, total, 0.0)


def _response(
    weights: Float[np.ndarray, " offset"], offsets: Int[np.ndarray, "offset 2"], period: tuple[int, int]
) -> Float[np.ndarray, "ky kx"]:
    """Return the squared modulus of the prediction's transfer function."""
    torus = np.zeros(period)
    torus[tuple(offsets.T)] = weights
    return np.abs(rfft2(torus)) ** 2


def _centred(covariance: Float[np.ndarray, "py px"], reach: int) -> Float[np.ndarray, "dy dx"]:
    lags = np.arange(-reach, reach + 1)
    return covariance[np.ix_(lags, lags)]


def _tapered(
    images: list[Float[np.ndarray, "y x"]], kept: Bool[np.ndarray, "y x"], reach: int, background: bool
) -> Float[np.ndarray, "dy dx"]:
    """Return the mean covariance of images, less that of the background, times a Parzen window."""
    far = reach + max(2, reach // 2)
    products, pairs = zip(*(pair_sums(image, kept, far) for image in images), strict=True)
    products, pairs = sum(products), sum(pairs)
    covariance = products / np.maximum(pairs, 1.0)
    lag = np.abs(np.arange(-far, far + 1))
    if background:
        beyond = np.maximum.outer(lag, lag) > reach
        covariance = covariance - products[beyond].sum() / max(pairs[beyond].sum(), 1.0)
    return _window(reach) * covariance[far - reach : far + reach + 1, far - reach : far + reach + 1]


def _window(reach: int) -> Float[np.ndarray, "dy dx"]:
    """Return Parzen's window, whose own spectrum is positive, along both axes."""
    x = np.abs(np.arange(-reach, reach + 1)) / (reach + 1)
    window = np.where(x < 0.5, 1 - 6 * x**2 * (1 - x), 2 * (1 - x) ** 3)
    return np.outer(window, window)


def _spectrum(covariance: Float[np.ndarray, "dy dx"], period: tuple[int, int]) -> Float[np.ndarray, "ky kx"]:
    reach = covariance.shape[0] // 2
    lags = np.arange(-reach, reach + 1)
    torus = np.zeros(period)
    np.add.at(torus, np.ix_(lags % period[0], lags % period[1]), covariance)
    return rfft2(torus).real


def _check(image: Float[np.ndarray, "y x"], kept: Bool[np.ndarray, "y x"]) -> None:
    values = image[kept]
    if values.size < 2:
        raise _no_noise(f"{values.size} usable pixels")
    if not np.all(np.isfinite(values)):
        raise _no_noise(f"{np.count_nonzero(~np.isfinite(values))} usable pixels that are not finite")
    if np.ptp(values) == 0:
        raise _no_noise("pixels that are all alike")


def _no_noise(found: str) -> InputError:
    return InputError("noise", found, "pixels of noise to measure", "Check the image and its mask.")
