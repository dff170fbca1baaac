"""A figure of pairs: what the sky is, and what each telescope makes of it.

``python -m data_prep.gallery DIR OUT [--split S] [--number N]``. One column per pair: the truth in colour and
in its sharpest band, then each camera's image, in colour where it has three bands, its pixels as they are but
turned to the truth's axes. Colours are stretched as by Lupton et al. (2004), bands by the inverse of their
typical flux, the same in truth and images; grey images by an arcsinh of their noise.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.visualization import make_lupton_rgb
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reproject import reproject_interp

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import replacing
from synergy.io.pairs import Pair, PairShards
from synergy.observation import Observation
from synergy.survey import get_band

_WHITE = (1.5, 1.0, 0.75)  # weights of a blue, a middle and a red band per flux density


def main() -> None:
    """Read the command line and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.gallery", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="directory made by 'synergy mock'")
    parser.add_argument("out", type=Path, help="figure to write, .png, .pdf or .svg")
    parser.add_argument("--split", default="train")
    parser.add_argument("--number", type=int, default=12, help="how many pairs")
    arguments = parser.parse_args()
    try:
        pairs = PairShards.open(arguments.folder, arguments.split)
        # The brightest of the first pairs: an empty sky shows nothing.
        first = [pairs[i] for i in range(min(len(pairs), 6 * arguments.number))]
        first.sort(key=lambda pair: -float(pair.truth.max(axis=0).sum()))
        plot_pairs(first[:: max(len(first) // arguments.number, 1)][: arguments.number], arguments.out)
    except InputError as error:
        parser.exit(2, f"{error}\n")


def plot_pairs(pairs: Sequence[Pair], path: Path) -> None:
    """Draw pairs of one configuration side by side.

    Parameters
    ----------
    pairs
        At least one.
    path
        Figure to write.
    """
    cameras = _cameras(pairs[0])
    figure = Figure(figsize=(1.5 * len(pairs), 1.6 * (2 + len(cameras))), layout="constrained")
    panels = figure.subplots(2 + len(cameras), len(pairs), squeeze=False)
    for pair, column in zip(pairs, panels.T, strict=True):
        sharp = pair.bands.index("euclid.vis") if "euclid.vis" in pair.bands else len(pair.bands) - 1
        _colour(column[0], pair.truth[_three(pair.bands)], pair.frame.pixel_scale)
        _grey(column[1], pair.truth[sharp], float(np.percentile(pair.truth[sharp], 90)))
        for names, axes in zip(cameras, column[2:], strict=True):
            images = [o for o in pair.observations if o.name in names]
            if len(images) < 3:
                _grey(axes, turned(images[0], pair.frame), _noise(images[0]))
            else:
                shown = [images[i] for i in _three([image.band for image in images])]
                planes = np.stack([turned(image, pair.frame) for image in shown])
                _colour(axes, planes, shown[0].frame.pixel_scale)
    labels = ["truth", "truth, sharpest"] + [", ".join(_short(names)) for names in cameras]
    for axes, label in zip(panels[:, 0], labels, strict=True):
        axes.set_ylabel(label, fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _cameras(pair: Pair) -> list[list[str]]:
    """Group the names of the images by what shares a grid."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for observation in pair.observations:
        key = (get_band(observation.band).instrument, observation.image.shape)
        groups.setdefault(key, []).append(observation.name)
    return list(groups.values())


def _short(names: Sequence[str]) -> list[str]:
    return [names[0], "..", names[-1]] if len(names) > 3 else list(names)


def _three(bands: Sequence[str]) -> list[int]:
    """Return a blue, a middle and a red band: r, i, z where there are, else first, middle and last."""
    letters = [band.split(".")[-1] for band in bands]
    if {"r", "i", "z"} <= set(letters):
        return [letters.index(letter) for letter in "riz"]
    return [0, len(bands) // 2, len(bands) - 1]


def turned(observation: Observation, frame: Frame) -> Float[np.ndarray, "y x"]:
    """Return the nearest pixel of an image at each pixel of a frame, 0 where there is none."""
    source = observation.image, observation.frame.wcs
    turned = reproject_interp(
        source, frame.wcs, frame.shape, order="nearest-neighbor", return_footprint=False
    )
    return np.nan_to_num(turned)


def _noise(observation: Observation) -> float:
    return float(np.median(observation.ivar[~observation.mask]) ** -0.5)


def _colour(axes: Axes, planes: Float[np.ndarray, "3 y x"], pixel_scale: float) -> None:
    blue, middle, red = (w * plane / pixel_scale**2 for w, plane in zip(_WHITE, planes, strict=True))
    bright = max(float(np.percentile(middle, 99.5)), 1e3)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing shines
        picture = make_lupton_rgb(red / bright, middle / bright, blue / bright, stretch=0.3, Q=8)
    axes.imshow(picture, origin="lower")
    axes.set(xticks=[], yticks=[])


def _grey(axes: Axes, image: Float[np.ndarray, "y x"], unit: float) -> None:
    shown = np.arcsinh(image / (2 * max(unit, 1e-6)))
    axes.imshow(shown, origin="lower", cmap="gray", vmin=-1, vmax=max(float(shown.max()), 2.0))
    axes.set(xticks=[], yticks=[])


if __name__ == "__main__":
    main()
