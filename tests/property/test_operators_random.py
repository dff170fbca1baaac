"""Random images of random galaxies: the operators against GalSim on every kind of grid and PSF.

Each case is a pure function of its index: a scene of any size, orientation and pixel scale, an image of it at
1 to 6.1 times its pixel scale (even, odd, not square, dithered, flipped, rotated, sheared), one of six kinds
of PSF, and a galaxy of one or two components that fits into the scene. GalSim draws scene and image; the
operator maps one to the other. A PSF is handed over as a stamp, as a user would. Where GalSim knows the PSF
in closed form, the stamp is oversampled and so wide that it misses no light between galaxy and pixel; where
the stamp is all there is (measured ones), GalSim convolves with the band-limited function through its
samples.

Scenes are as fine as the instrument asks for: their Nyquist limit lies beyond the optics' cut-off.

Rerun one case with ``pytest tests/property/test_operators_random.py -k 'case[17]'``; print the largest errors
by class with ``python tests/property/test_operators_random.py [--cases 17 18]``.
"""

import argparse
import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from synergy.frame import Frame
from synergy.operators import Operator, inside
from synergy.pixel_sampling import Folded, NonUniform, Separable
from synergy.psf import PSF

CASES = 300
KINDS = ("kolmogorov", "moffat", "optical vis", "optical nisp", "generated stamp", "measured stamp")
BOUNDS = {"aligned": 1e-4, "other": 1e-3}  # of the image's peak
FLUX, CENTROID, MOMENTS = 1e-4, 0.01, 1e-3  # relative, image pixels, relative

PARAMS = galsim.GSParams(
    folding_threshold=5e-4, maxk_threshold=1e-4, kvalue_accuracy=1e-8, maximum_fft_size=16384
)
# Optics are tabulated images: a smaller threshold makes them huge.
OPTICS_PARAMS = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=1e-4, kvalue_accuracy=1e-8)
WIDE = 501  # stamp pixels after which the image of a measured stamp repeats; odd
UPRIGHT = np.array(((1.0, 0.0), (0.0, -1.0)))  # d(north, east)/d(y, x): north up, east to the left
# XLA's optimiser costs more than it gains where every case has shapes of its own.
UNOPTIMISED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Stamp(NamedTuple):
    """Samples of a PSF, arcsec per sample, the smallest ratio to scene pixels, and the centre."""

    name: str
    values: np.ndarray
    pixel_scale: float
    least_ratio: float
    center: tuple[float, float] | None = None


class Setup(NamedTuple):
    """One case; matrices are d(north, east)/d(y, x) in arcsec, positions (north, east) in arcsec."""

    kind: str
    psf_name: str
    aligned: bool
    scene_shape: tuple[int, int]
    scene_matrix: np.ndarray
    image_shape: tuple[int, int]
    image_matrix: np.ndarray
    shift: np.ndarray
    galaxy: galsim.GSObject
    profile: galsim.GSObject
    psf: PSF


class Errors(NamedTuple):
    """Largest error relative to the peak, relative flux error, centroid (pixels) and relative moments."""

    image: float
    flux: float
    centroid: float
    moments: float


def frame(shape, matrix, shift=(0.0, 0.0)):
    """Frame whose (north, east) offsets in arcsec are `matrix` times (y, x) from its centre, displaced."""
    reference = (np.array(shape) - 1) / 2 - np.linalg.solve(matrix, np.array(shift, float))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = reference[::-1] + 1
    wcs.wcs.cd = matrix[::-1, ::-1] / 3600
    return Frame(shape, wcs)


def galsim_wcs(matrix):
    """Return the same in GalSim's sky coordinates: u to the west, v to the north; x before y."""
    (north_y, north_x), (east_y, east_x) = matrix
    return galsim.JacobianWCS(-east_x, -east_y, north_x, north_y)


def convolve(*profiles):
    """Convolve profiles that keep the accuracy they were made with."""
    return galsim.Convolve(*profiles, propagate_gsparams=False)


def draw(profile, shape, matrix):
    image = profile.drawImage(
        nx=shape[1], ny=shape[0], wcs=galsim_wcs(matrix), method="no_pixel", dtype=np.float64
    )
    return image.array


def draw_stamp(profile, shape, matrix, pixels):
    """Draw as `draw`, for a profile that is cut off at the Nyquist limit of a stamp of `pixels` image pixels.

    GalSim evaluates the transform in the middles of equal cells that fill the square within the limit, and
    the Fourier sum is written out: its own FFT would place the limit anywhere within a cell, which matters
    where a stamp rings.
    """
    step = 2 * np.pi / (WIDE * pixels)
    values = galsim_wcs(matrix).toImage(profile).drawKImage(nx=WIDE, ny=WIDE, scale=step).array
    k = (np.arange(WIDE) - WIDE // 2) * step
    rows, columns = (np.exp(1j * np.outer(np.arange(n) - (n - 1) / 2, k)) for n in shape)
    return (rows @ values @ columns.T).real * (step / (2 * np.pi)) ** 2


def rotation(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@functools.cache
def optics(wavelength, aberration):
    """Return Euclid's optics; GalSim's default oversampling of 1.5 leaves ghosts of 5e-4."""
    return galsim.OpticalPSF(
        lam=wavelength,
        diam=1.2,
        obscuration=0.3,
        nstruts=3,
        coma1=aberration,
        astig2=-aberration,
        oversampling=3,
        gsparams=OPTICS_PARAMS,
    )


def analytic_psf(kind, rng):
    """Return a profile without its pixel, and the pixel scale of an oversampled stamp."""
    if kind == "kolmogorov":
        fwhm = rng.uniform(0.5, 1.1)
        return galsim.Kolmogorov(fwhm=fwhm, gsparams=PARAMS), fwhm / rng.uniform(8, 12)
    if kind == "moffat":
        fwhm = rng.uniform(0.4, 1.0)
        shear = galsim.Shear(g=rng.uniform(0, 0.1), beta=rng.uniform(0, 180) * galsim.degrees)
        moffat = galsim.Moffat(beta=rng.uniform(2.5, 4.5), fwhm=fwhm, gsparams=PARAMS)
        return moffat.shear(shear), fwhm / rng.uniform(8, 12)
    pupils = ((750.0, 0.0), (880.0, 0.03)) if kind == "optical vis" else ((1080.0, 0.03), (1770.0, 0.0))
    return optics(*pupils[rng.integers(2)]), rng.uniform(0.025, 0.04)


def generated_stamp(rng):
    """Return a stamp as pipelines make them: aberrated, off-centre, clipped, noisy, coarse."""
    pixel_scale, name = ((0.1, "vis"), (0.168, "ground"), (0.1, "resampled nisp"))[rng.integers(3)]
    if name == "ground":
        core = galsim.Moffat(beta=3.0, fwhm=rng.uniform(0.55, 0.9), gsparams=PARAMS)
    else:
        core = optics(880.0 if name == "vis" else 1080.0, 0.03)
        core = convolve(core, galsim.Gaussian(fwhm=0.08 if name == "vis" else 0.3, gsparams=PARAMS))
    core = convolve(core, galsim.Pixel(0.3 if "nisp" in name else pixel_scale, gsparams=PARAMS))
    size = 21 if name == "vis" else int(rng.integers(31, 46))
    offset = rng.uniform(-0.05, 0.05, 2)
    values = core.shear(g1=rng.uniform(-0.05, 0.05), g2=0.02).drawImage(
        nx=size, ny=size, scale=pixel_scale, offset=offset, method="no_pixel", dtype=np.float64
    )
    noise = 1e-4 * values.array.max() * rng.normal(size=(size, size))
    return Stamp(name, values.array + noise, pixel_scale, 1.6 if name == "vis" else 1.0)


@functools.cache
def measured_stamps(folder):
    """Return the real stamps: Euclid Q1 (21 of 24 on the MER grid of 0.1 arcsec), HST and HSC in COSMOS."""
    stamps = []
    for path in sorted(folder.glob("euclid_q1/*.fits")):
        with fits.open(path) as hdus:
            stamps += [
                Stamp(
                    f"{path.stem[:8]} {hdu.name}",
                    hdu.data.astype(float),
                    0.1,
                    1.6 if "VIS" in hdu.name else 1.0,
                )
                for hdu in hdus[1:]
                if hdu.name.endswith("_PSF")
            ]
    for path in sorted(folder.glob("hst_hsc_cosmos/*_psf.fits")):
        hst = "hst" in path.stem
        planes = fits.getdata(path).astype(float)
        planes = planes.reshape(-1, *planes.shape[-2:])
        stamps += [
            Stamp(f"{path.stem} {i}", plane, *((0.03, 1.6) if hst else (0.168, 1.0)))
            for i, plane in enumerate(planes)
        ]
    for path in sorted(folder.glob("psfs/*.fits")):
        hst = path.stem.startswith("hst")
        about = (0.03, 1.6, (64.0, 64.0)) if hst else (0.168, 1.0)  # an even stamp centred on a pixel
        stamps.append(Stamp(path.stem, fits.getdata(path).astype(float), *about))
    return stamps


def stamp_of(kind, index, rng, folder):
    """Return the stamp of a case; measured ones take their turn."""
    if kind == "generated stamp":
        return generated_stamp(rng)
    stamps = measured_stamps(folder)
    return stamps[(index // len(KINDS)) % len(stamps)]


@functools.cache
def sersic(index, trunc):
    """Return a profile of unit half-light radius; GalSim tabulates its transform once."""
    return galsim.Sersic(n=index, half_light_radius=1.0, trunc=trunc, gsparams=PARAMS)


def random_galaxy(rng, room, unit):
    """Return a galaxy that ends within `room` arcsec of the middle, with half-light radii above `unit`."""

    def component(indices, least, most):
        trunc = float(rng.choice((3.0, 5.0)))
        profile = sersic(float(rng.choice(indices)), trunc)
        shear = galsim.Shear(g=rng.uniform(0, 0.35), beta=rng.uniform(0, 180) * galsim.degrees)
        radius = rng.uniform(least, max(least, most / trunc))
        return profile.dilate(radius).shear(shear)

    most = 0.55 * room  # 0.8 along the major axis of the strongest shear
    form = rng.integers(3)
    if form == 0:
        galaxy = component((0.5, 1.5, 2.5, 4.0), unit, most)
    elif form == 1:
        galaxy = component((1.0,), unit, most)
    else:
        bulge = component((2.5, 4.0), unit, 0.5 * most).withFlux(rng.uniform(0.2, 0.6))
        galaxy = galsim.Add(bulge, component((1.0,), unit, most))
    return galaxy.withFlux(1000.0).shift(*(rng.uniform(-0.13, 0.13, 2) * room))


def image_matrix(scene_matrix, ratio, aligned, rng):
    """Return an image's axes: those of the scene, flipped at will, or turned, sheared and flipped."""
    matrix = ratio * scene_matrix @ np.diag(rng.choice([-1.0, 1.0], 2))
    if aligned:
        return matrix
    shear = np.array([[1.0, rng.uniform(-0.03, 0.03)], [rng.uniform(-0.03, 0.03), rng.uniform(0.98, 1.02)]])
    angle = rng.choice([90.0, 270.0]) if rng.random() < 0.1 else rng.uniform(0, 360)
    return rotation(angle) @ matrix @ (np.eye(2) if rng.random() < 0.4 else shear)


def make(index, folder=None):
    """Return the case of an index."""
    rng = np.random.default_rng((20261125, index))
    kind = KINDS[index % len(KINDS)]
    aligned = bool((index // len(KINDS)) % 2)
    scene_shape = tuple(int(n) for n in rng.integers(56, 97, 2))
    ratio = rng.uniform(1, 6.1)
    if rng.random() < 0.3:
        ratio = float(round(ratio))
    if kind.endswith("stamp"):
        stamp = stamp_of(kind, index, rng, folder)
        scene_scale = stamp.pixel_scale / rng.uniform(stamp.least_ratio, 3.0)
    else:
        scene_scale = 0.05
    scene_matrix = scene_scale * rotation(rng.choice([0.0, rng.uniform(0, 360)])) @ UPRIGHT
    matrix = image_matrix(scene_matrix, ratio, aligned, rng)
    extent = np.array(scene_shape) * scene_scale
    across = np.sqrt(abs(np.linalg.det(matrix)))
    image_shape = tuple(int(n) for n in np.clip(np.round(extent / across * rng.uniform(0.6, 1.2, 2)), 8, 80))
    shift = rng.uniform(-0.5, 0.5, 2) * across
    room = extent.min() / 2
    galaxy = random_galaxy(rng, room, 2 * scene_scale)
    if kind.endswith("stamp"):
        psf = PSF.from_stamp(stamp.values, stamp.pixel_scale, stamp.name, center=stamp.center)
        cells = matrix * stamp.pixel_scale / across
        profile = galsim.InterpolatedImage(
            galsim.Image(np.ascontiguousarray(psf.image), wcs=galsim_wcs(cells)),
            x_interpolant=galsim.SincInterpolant(gsparams=PARAMS),
            normalization="flux",
            pad_factor=8.0,
            gsparams=PARAMS,
        )
        name = stamp.name
    else:
        without_pixel, stamp_scale = analytic_psf(kind, rng)
        pixel = galsim_wcs(matrix).toWorld(galsim.Pixel(1.0, gsparams=PARAMS))
        profile = convolve(without_pixel, pixel)
        half = int(np.ceil((np.hypot(*extent) + 2 * across) / stamp_scale / 1.3))
        values = draw(profile, (2 * half + 1, 2 * half + 1), matrix * stamp_scale / across)
        psf = PSF.from_stamp(values, stamp_scale)
        profile = profile / values.sum()  # light beyond the stamp is put back into it
        name = kind
    return Setup(
        kind, name, aligned, scene_shape, scene_matrix, image_shape, matrix, shift, galaxy, profile, psf
    )


def second_moments(image, weight):
    """Return the centroid and second moments of an image under a weight."""
    flux = image * weight
    flux = flux / flux.sum()
    y, x = np.indices(image.shape)
    centroid = np.array([np.sum(flux * y), np.sum(flux * x)])
    dy, dx = y - centroid[0], x - centroid[1]
    return centroid, np.array([np.sum(flux * dy * dy), np.sum(flux * dy * dx), np.sum(flux * dx * dx)])


def compare(setup):
    """Return the errors of the operator's image within the scene."""
    scene_frame = frame(setup.scene_shape, setup.scene_matrix)
    image_frame = frame(setup.image_shape, setup.image_matrix, setup.shift)
    model = galsim.Gaussian(fwhm=2 * scene_frame.pixel_scale, gsparams=PARAMS)
    scene = draw(convolve(setup.galaxy, model), setup.scene_shape, setup.scene_matrix)
    seen = convolve(setup.galaxy.shift(setup.shift[1], -setup.shift[0]), setup.profile)
    if setup.kind.endswith("stamp"):
        pixels = setup.psf.pixel_scale / image_frame.pixel_scale
        truth = draw_stamp(seen, setup.image_shape, setup.image_matrix, pixels)
    else:
        truth = draw(seen, setup.image_shape, setup.image_matrix)
    with jax.enable_x64(True):
        operator = Operator.build(scene_frame, image_frame, setup.psf, np.ones(1), np.float64)
        forward = jax.jit(Operator.__call__, compiler_options=UNOPTIMISED)
        found = np.asarray(forward(operator, jnp.asarray(scene[None])))
    assert isinstance(operator.sampler, (Separable | Folded) if setup.aligned else NonUniform)
    visible = inside(scene_frame, image_frame)
    found, truth = found * visible, truth * visible
    # A weight as wide as the image of the galaxy, the same for both codes.
    y, x = np.indices(truth.shape)
    middle = np.unravel_index(np.argmax(truth), truth.shape)
    area = np.count_nonzero(truth > 0.5 * truth.max())
    weight = np.exp(-0.5 * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / max(area, 4))
    (centre, moments), (expected_centre, expected) = (second_moments(i, weight) for i in (found, truth))
    size = expected[0] + expected[2]
    return Errors(
        float(np.abs(found - truth).max() / truth.max()),
        float(abs(found.sum() / truth.sum() - 1)),
        float(np.abs(centre - expected_centre).max()),
        float(np.abs(moments - expected).max() / size),
    )


@pytest.mark.parametrize("index", range(CASES))
def test_case(index, request):
    folder = None
    if KINDS[index % len(KINDS)] == "measured stamp":
        folder = request.getfixturevalue("shared_data")
    setup = make(index, folder)
    errors = compare(setup)
    bounds = Errors(BOUNDS["aligned" if setup.aligned else "other"], FLUX, CENTROID, MOMENTS)
    assert all(error < bound for error, bound in zip(errors, bounds, strict=True)), (setup, errors)


def test_the_cases_cover_what_they_should():
    kinds = [KINDS[index % len(KINDS)] for index in range(CASES)]
    assert CASES >= 300
    assert kinds.count("measured stamp") <= kinds.count("generated stamp")  # as many remain without real data


def main() -> None:
    """Print the largest errors by class, and every case beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=range(CASES), help="indices")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    arguments = parser.parse_args()
    folder = Path(
        os.environ.get("SYNERGY_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    )
    table: dict[tuple[str, str], list[tuple[Errors, int]]] = {}
    for index in arguments.cases:
        if KINDS[index % len(KINDS)] == "measured stamp" and not folder.is_dir():
            continue
        setup = make(index, folder)
        grid = "aligned" if setup.aligned else "other"
        errors = compare(setup)
        table.setdefault((grid, setup.kind), []).append((errors, index))
        bounds = Errors(BOUNDS[grid], FLUX, CENTROID, MOMENTS)
        if arguments.verbose or any(e >= b for e, b in zip(errors, bounds, strict=True)):
            ratio = np.sqrt(abs(np.linalg.det(setup.image_matrix) / np.linalg.det(setup.scene_matrix)))
            print(  # noqa: T201
                f"case {index} {grid}, {setup.psf_name}, ratio {ratio:.2f}:",
                " ".join(f"{e:.1e}" for e in errors),
            )
    print("grid     psf                n     image      flux  centroid   moments  worst image")  # noqa: T201
    for (grid, kind), rows in sorted(table.items()):
        worst = np.max([errors for errors, _ in rows], axis=0)
        numbers = " ".join(f"{w:9.1e}" for w in worst)
        print(f"{grid:8} {kind:16} {len(rows):3d} {numbers}  case {max(rows)[1]}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
