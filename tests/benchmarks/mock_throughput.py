"""Processor time and memory of making pairs: our rendering beside naive GalSim and BlendingToolKit.

Run as ``python tests/benchmarks/mock_throughput.py [--pairs N] [--btk-python PYTHON] [--shared DIR]``; with
``--config FILE`` whole pairs of a configuration, from choosing galaxies to noise, stand beside naive drawing
of the same skies, which gets galaxies, colours and PSFs for nothing.

*The job.* Ten bands (LSST ugrizy, Euclid VIS, Y, J, H), skies of four galaxies, each of four light maps of
192 x 192 pixels that no other pair uses, so that nothing is remembered between pairs but PSFs; a truth of
128 x 128 pixels in ten bands, ten images with noise at native scales, sub-pixel offsets.
*Naive GalSim* draws the same skies with the same PSFs, source by source and band by band: `InterpolatedImage`
of the band's light, transform, shift, `Convolve`, `drawImage`, at GalSim's default accuracy.
*BlendingToolKit* (`btk_blends.py`, in its own environment) draws blends of four analytic CatSim galaxies in
VIS and LSST's six bands, with noise, on stamps as large as ours, whose PSFs are round and always the same;
beside it, our time for the same seven bands, with new galaxies and with galaxies drawn before, and both per
stamp: an image of one band, where ours also count the truth's bands. Neither side writes anything. Theirs
builds each galaxy's profile anew for each band, a disc and in three cases of ten a bulge, at GalSim's default
accuracy, and also keeps an image of each galaxy alone. Ours starts from four maps of pixels per galaxy, of
which new ones have to be transformed, finely enough for a truth as well, at 1e-4 of the peak.

All times are processor times of one thread, medians, all sides interleaved in one run. The floor is the
arithmetic of a pair alone: transforms of the maps, sparse interpolation, products with phases, and one
transform per image.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import astropy.units as u
import galsim
import numpy as np
import scipy.fft
import scipy.sparse
from astropy.coordinates import SkyCoord

from data_prep.cameras import observe_sky
from data_prep.make_mocks import make_pair, pair_sky
from data_prep.mock_config import MockSettings, SurveySettings
from data_prep.render import tangent_map
from data_prep.rendering import render_truth
from data_prep.sky import LightMaps, Sky, SkySource
from data_prep.spectra import TAPS, map_spectra
from data_prep.survey_psfs import draw_psfs
from synergy.config import load
from synergy.frame import Frame
from synergy.psf import PSF
from synergy.survey import SCENE_BANDS

SIDE, GALAXIES, MAPS = 192, 4, 4
SCENE = Frame.tangent(SkyCoord(150.1 * u.deg, 2.2 * u.deg), (128, 128), 0.05)
LSST = SurveySettings(bands=SCENE_BANDS[:6])
VIS = SurveySettings(bands=("euclid.vis",))
NISP = SurveySettings(bands=SCENE_BANDS[7:])
SCATTERED = LSST.model_copy(update={"seeing_scatter": 0.1})


def make_sky(rng: np.random.Generator) -> Sky:
    """Draw a sky of clumpy discs with half-light radii of 0.15" to 0.6"."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    radius = np.hypot(y, x)
    sources = []
    for number in range(GALAXIES):
        smooth = [np.exp(-radius / h) * np.clip(1 - (2 * radius / SIDE) ** 2, 0, 1) for h in (7, 9, 11, 13)]
        maps = np.stack(smooth) * np.exp(0.5 * rng.standard_normal((MAPS, SIDE, SIDE)))
        maps /= maps.sum(axis=(1, 2), keepdims=True)
        populations = tuple(("E", 0.1 * n) for n in range(MAPS))
        light = LightMaps(f"{number}", f"{number}", maps, np.full(MAPS, 1 / MAPS), populations, True, 17.0)
        angle, ratio = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1)
        c, s = np.cos(angle), np.sin(angle)
        size = (rng.uniform(0.3, 0.6) if number == 0 else rng.uniform(0.15, 0.4)) / 17.0
        matrix = size * np.array([[c, -s], [s, c]]) @ np.diag([ratio, 1.0])
        centre = rng.uniform(-3.2, 3.2, 2) * (0.3 if number == 0 else 1.0)
        fluxes = rng.uniform(20, 400, (MAPS, len(SCENE_BANDS)))
        sources.append(SkySource(light, fluxes, (float(centre[0]), float(centre[1])), matrix, 0.5))
    return Sky(SCENE_BANDS, tuple(sources))


def ours(sky: Sky, surveys: tuple[SurveySettings, ...], truth: bool, rng: np.random.Generator) -> list:
    """Make the truth, if asked for, and the observations."""
    if truth:
        render_truth(sky, SCENE)
    made = []
    for survey in surveys:
        psfs = draw_psfs(survey, None, rng)
        made += observe_sky(sky, SCENE, survey, psfs, rng)
    return made


def naive(sky: Sky, scene: Frame, observations: list) -> None:
    """Draw the truth and the images, source by source and band by band."""
    model = galsim.Gaussian(fwhm=2 * scene.pixel_scale)
    images = [(band, model, scene) for band in sky.bands]
    images += [
        (observation.band, _profile(observation.psf), observation.frame) for observation in observations
    ]
    for band, psf, frame in images:
        matrix, offset = tangent_map(scene, frame)
        ny, nx = frame.shape
        drawing = {"nx": nx, "ny": ny, "scale": frame.pixel_scale, "offset": offset, "method": "no_pixel"}
        for source in sky.sources:
            place = matrix @ np.array(source.centre[::-1])
            if source.light is None:
                (psf * float(source.fluxes[0, sky.bands.index(band)])).shift(*place).drawImage(**drawing)
                continue
            light = np.tensordot(source.fluxes[:, sky.bands.index(band)], source.light.maps, 1)
            profile = galsim.InterpolatedImage(galsim.Image(light, scale=1.0))
            to_image = matrix @ source.matrix[::-1, ::-1]
            placed = profile.transform(*to_image.ravel()) / abs(np.linalg.det(to_image))
            galsim.Convolve(placed.shift(*place), psf).drawImage(**drawing)


def floor(sky: Sky) -> float:
    """Return what the arithmetic of a pair takes at least, in milliseconds."""
    spent = 0.0
    for source in sky.sources:
        spectra = map_spectra(source.light, 0.3)
        height, width, _ = spectra.padded.shape
        light, along_x = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, 2 * width), np.float32)
        columns = np.zeros((spectra.period, width), np.complex64)
        for _ in range(MAPS):
            spent += timed(np.matmul, light, along_x)[0] + timed(scipy.fft.fft, columns, None, 0)[0]
        reals = spectra.padded.reshape(height * width, MAPS).view(np.float32)
        # Limits in cycles per arcsec, reach of kernels in arcsec, pixels per arcsec, inverse transforms.
        for limit, reach, fineness, number in (
            (16.0, 0.25, 20.0, MAPS),
            (10.4, 0.2, 20.7, 1),
            (3.9, 0.5, 7.9, 3),
            (2.7, 0.8, 5.3, MAPS),
        ):
            period = 2 * float(spectra.extent(source.matrix).max() + reach)
            steps, side = int(limit * period), int(fineness * period)
            points = int(np.pi / 2 * steps**2)
            places = np.sort(np.random.default_rng(0).integers(0, height * width, (points, TAPS**2)), axis=0)
            matrix = scipy.sparse.csr_array(
                (
                    np.ones(places.size, np.float32),
                    places.ravel().astype(np.int32),
                    np.arange(0, places.size + 1, TAPS**2, dtype=np.int32),
                ),
                shape=(points, height * width),
            )
            spent += timed(matrix.__matmul__, reals)[0]
            plane = np.zeros((number, 2 * steps + 1, steps + 1), np.complex64)
            phases = np.zeros((side, 2 * steps + 1), np.complex64)
            spent += timed(np.matmul, phases, plane)[0]
            rows = np.zeros((number, side, 2 * steps + 2), np.float32)
            spent += timed(np.matmul, rows, np.zeros((2 * steps + 2, side), np.float32))[0]
    for number, side in ((1, 256), (3, 98), (6, 66)):
        spent += timed(scipy.fft.rfft2, np.zeros((number, side, side), np.float32))[0]
    return spent


_profiles: dict = {}


def _profile(psf: PSF) -> galsim.GSObject:
    if psf not in _profiles:
        _profiles[psf] = galsim.InterpolatedImage(
            galsim.Image(psf.image.copy(), scale=psf.pixel_scale), flux=1.0
        )
    return _profiles[psf]


def configured(path: Path, data: Path, pairs: int) -> None:
    """Time whole pairs of a configuration beside naive drawing of the same skies, and print both."""
    settings = load(path, MockSettings)
    for number in range(150):  # fill what is kept between pairs
        make_pair(settings, data, "train", number)
    whole, loops = [], []
    for number in range(1000, 1000 + pairs):
        spent, pair = timed(make_pair, settings, data, "train", number)
        whole.append(spent)
        _, sky, _ = pair_sky(settings, data, "train", number)
        for observation in pair.observations:
            _profile(observation.psf)
        loops.append(timed(naive, sky, pair.frame, list(pair.observations))[0])
        _profiles.clear()
    ours_mean, naive_mean = np.mean(whole), np.mean(loops)
    print(f"{settings.name}: {ours_mean:.0f} ms a pair, {1e3 / ours_mean:.1f} per second and core")  # noqa: T201
    ratio = naive_mean / ours_mean
    print(f"naive GalSim: {naive_mean:.0f} ms, {ratio:.1f} times as long (means of {pairs})")  # noqa: T201


def timed(function, *arguments) -> tuple[float, object]:
    """Return the processor time in milliseconds, and the result."""
    start = time.process_time()
    result = function(*arguments)
    return 1e3 * (time.process_time() - start), result


def main() -> None:
    """Time everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("SYNERGY_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--memory-pairs", type=int, default=120)
    parser.add_argument("--btk-python", type=Path, default=None)
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--config", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.config is not None:
        configured(arguments.config, arguments.shared, arguments.pairs)
        return
    rng = np.random.default_rng(0)
    toolkit, version = None, None
    if arguments.btk_python is not None:
        script = Path(__file__).with_name("btk_blends.py")
        catalogue = arguments.shared / "catalogues" / "catsim_100.fits"
        command = [str(arguments.btk_python), str(script), str(catalogue), "6.4", str(GALAXIES), "4"]
        toolkit = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        version = toolkit.stdout.readline().strip()
    names = (
        "pair",
        "pair, seeing drawn",
        "VIS + LSST images",
        "the same again",
        "naive GalSim pair",
        "BlendingToolKit",
    )
    times: dict[str, list[float]] = {name: [] for name in names}
    floors = []
    ours(make_sky(rng), (LSST, VIS, NISP), True, rng)
    for number in range(arguments.pairs):
        sky = make_sky(rng)
        spent, made = timed(ours, sky, (LSST, VIS, NISP), True, rng)
        times[names[0]].append(spent)
        times[names[1]].append(timed(ours, make_sky(rng), (SCATTERED, VIS, NISP), True, rng)[0])
        other = make_sky(rng)
        for name in names[2:4]:
            times[name].append(timed(ours, other, (LSST, VIS), False, rng)[0])
        floors.append(floor(sky))
        if number < max(2, arguments.pairs // 4):
            times[names[4]].append(timed(naive, sky, SCENE, made)[0])
        if toolkit is not None:
            toolkit.stdin.write("go\n")
            toolkit.stdin.flush()
            times[names[5]].append(float(toolkit.stdout.readline()))
    median = {name: float(np.median(spent)) for name, spent in times.items() if spent}
    for name, spent in median.items():
        print(f"{name:28} {spent:8.1f} ms  {1e3 / spent:7.2f} per second and core")  # noqa: T201
    low = float(np.median(floors))
    print(f"floor {low:.1f} ms, ours / floor: {median[names[0]] / low:.1f}")  # noqa: T201
    print(f"naive GalSim / ours: {median[names[4]] / median[names[0]]:.1f}")  # noqa: T201
    if toolkit is not None:
        toolkit.stdin.close()
        toolkit.wait()
        blend = median[names[5]]
        print(  # noqa: T201
            f"BlendingToolKit {version} / ours: {blend / median[names[2]]:.1f} per blend in the same bands, "
            f"{blend / median[names[3]]:.1f} with galaxies drawn before, "
            f"{(blend / 7) / (median[names[0]] / 20):.1f} per stamp (7 of theirs, 20 of ours)"
        )
    peaks = []
    for _ in range(4):
        for _ in range(arguments.memory_pairs // 4):
            ours(make_sky(rng), (SCATTERED, VIS, NISP), True, rng)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    steps = arguments.memory_pairs // 4 * np.arange(1, 5)
    after = ", ".join(f"{p:.0f} MiB after {n} pairs" for n, p in zip(steps, peaks, strict=True))
    print(f"peak memory: {after}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
