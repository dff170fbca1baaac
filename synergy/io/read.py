"""`read_observations`: from files to observations, whatever the layout.

A layout is recognised from the content. Adding one means adding a function ``path -> list[ImageSpec]`` and
a row to `LAYOUTS`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from synergy.errors import InputError
from synergy.io.assemble import ImageSpec, assemble, frame_of
from synergy.io.euclid import is_mer, mer_images
from synergy.io.images import open_fits
from synergy.io.manifest import manifest_images
from synergy.observation import Observation

LAYOUTS: dict[str, Callable[[Path], list[ImageSpec]]] = {
    "euclid-mer": mer_images,
    "manifest": manifest_images,
}


def detect_layout(path: Path) -> str:
    """Return the layout of a file, one of `LAYOUTS`.

    Raises
    ------
    InputError
        If the file is missing, or of no layout we know.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        return "manifest"
    with open_fits(path) as hdus:
        names = [hdu.name.strip().upper() for hdu in hdus]
    if is_mer(names):
        return "euclid-mer"
    raise InputError(
        path,
        f"a FITS file with HDUs {', '.join(n or '(unnamed)' for n in names)}",
        f"one of the layouts {', '.join(LAYOUTS)}",
        "Describe the file in a YAML manifest (see synergy.io.manifest), or pass the layout.",
    )


def read_observations(
    paths: str | Path | Sequence[str | Path],
    layout: str | None = None,
    center: SkyCoord | None = None,
    size: float | None = None,
    register: bool = False,
) -> list[Observation]:
    """Read the images of one patch of sky.

    Parameters
    ----------
    paths
        A Euclid MER cutout, a manifest, or several of them.
    layout
        ``"euclid-mer"`` or ``"manifest"``; recognised from the content when omitted.
    center
        Sky position to cut out; the middle of the first image when omitted and `size` is given.
    size
        Side of the cutout in arcsec; whole images when omitted.
    register
        Move all images onto the sharpest one by what they show (see `synergy.io.register`).

    Returns
    -------
    list[Observation]
        One per image, in nJy, with unique names.

    Raises
    ------
    InputError
        If a file is missing or damaged, lacks a part (PSF, noise, zero point, pixel scale), holds no usable
        pixel, or the images do not overlap.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(
            "layout", repr(layout), f"one of {', '.join(LAYOUTS)}", "Choose one, or leave it out."
        )
    if center is not None and size is None:
        raise InputError(
            "center", "a centre without a size", "both", "Give the side of the cutout in arcsec, too."
        )
    if size is not None and not size > 0:
        raise InputError(
            "size", f"{size} arcsec", "a positive number", "Give the side of the cutout in arcsec."
        )
    files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    specs = _unique([spec for file in files for spec in LAYOUTS[layout or detect_layout(file)](file)])
    if not specs:
        raise InputError("read_observations", "no files", "at least one", "Name the files to read.")
    _check_overlap(specs)
    if size is not None and center is None:
        center = frame_of(specs[0]).center
    observations = [assemble(spec, center, size) for spec in specs]
    if not register:
        return observations
    from synergy.io.register import register as move

    return move(observations)


def _unique(specs: list[ImageSpec]) -> list[ImageSpec]:
    """Return the specs with names that occur more than once numbered: ``euclid.vis-1``, ``euclid.vis-2``."""
    often = Counter(spec.name for spec in specs)
    seen: Counter[str] = Counter()
    out = []
    for spec in specs:
        seen[spec.name] += 1
        out.append(spec if often[spec.name] == 1 else replace(spec, name=f"{spec.name}-{seen[spec.name]}"))
    return out


def _check_overlap(specs: list[ImageSpec]) -> None:
    """Complain when an image shares no sky with the first one."""
    first = frame_of(specs[0])
    limits = np.array(first.shape)
    for spec in specs[1:]:
        frame = frame_of(spec)
        corners = first.to_pixels(frame.to_sky(frame.corners))
        low, high = corners.min(axis=0), corners.max(axis=0)
        if not (np.isfinite(corners).all() and (high > -0.5).all() and (low < limits - 0.5).all()):
            apart = first.center.separation(frame.center).to_value("arcsec")
            raise InputError(
                spec.image,
                f"an image whose centre is {apart:.1f} arcsec from that of {specs[0].image}",
                "images that overlap on the sky",
                "Check the WCS, or leave that image out.",
            )
