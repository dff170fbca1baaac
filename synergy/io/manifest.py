"""Manifest: a small YAML file that names the FITS images of one patch of sky, of any instruments.

::

    root: ../data              # optional: files are relative to it; default: the manifest's directory
    images:
      - band: hst.F814W        # a band of the scene, or one near to some (synergy.response)
        name: acs              # optional, default: the band
        image: f814w.fits      # a file, or {file: f.fits, hdu: 1, plane: 2}: HDU number or name, cube plane
        noise: estimate        # or {rms: ...}, {variance: ...}, {ivar: ...} with a file or {file, hdu, plane}
        correlated: true       # optional: measured on blank sky (the default), false, inflate, given (below)
        gain: 2028             # optional, electrons per image unit: adds Poisson noise to 'noise: estimate'
        mask: {file: m.fits, bits: [0, 1, 8]}      # optional; without bits, any value but 0 is bad
        psf: {file: psf.fits, pixel_scale: 0.03}   # arcsec; default: the image's; see `PSFEntry`
        zeropoint: 25.94       # AB magnitude of one image unit, or the header keyword that holds it
        calibration_error: 0.05   # optional: this share of the image is added to the noise
        response: {lsst.r: 0.4, lsst.i: 0.6}   # optional: an image that sees several bands of the scene
        distorted: true        # optional: use the WCS pixel by pixel, for images that no affine map describes

``psf: {file: psf.fits, recover: euclid.vis}`` asks for the oversampled PSF behind a stamp at the detector's
own sampling, such as VIS's, or beyond the edge of a clipped one, such as ``recover: lsst.r``; a stamp that is
undersampled and not recovered is mentioned in the notes.

HDU and plane numbers count from 0. The noise is estimated from the image only where the manifest says
``noise: estimate``: uniform, from blank sky found by clipping sources.

Resampled images have noise that is correlated between pixels. By default blank sky decides: where adjacent
pixels correlate, the noise is stationary with the autocorrelation and the variance measured there, and a
noise map only says how it varies over the image. ``correlated: inflate`` keeps pixels independent, but
raises their variance until averages over the PSF have the scatter that is seen; this is also done, and
noted, where the blank sky is too small for more (`synergy.io.noise`). ``correlated: false`` says that pixels
are independent and the noise map is right. ``correlated: {correlation: {file: c.fits}}`` gives the
autocorrelation of the noise, at integer separations with zero in the middle of an array of odd sides, beside
a noise map of the total variance; with ``independent: {file: v.fits}``, in squared units of the image, for
the part of that variance that is independent between pixels all the same (`synergy.stationary`).
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from synergy import config
from synergy.io.assemble import ImageSpec
from synergy.io.images import Plane


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlaneEntry(_Strict):
    """Where an array lies: a file name, or `file`, `hdu` (number or name) and `plane` (of a cube, from 0)."""

    file: Path
    hdu: int | str = 0
    plane: int | None = Field(None, ge=0)

    def locate(self, root: Path) -> Plane:
        """Return the place with the path resolved."""
        return Plane(root / self.file, self.hdu, self.plane)


class PSFEntry(PlaneEntry):
    """A PSF stamp.

    `pixel_scale` (arcsec) when it is not the image's; `center` (y, x) when the point source does not sit in
    the middle; `recentre` to move a stamp that is off by accident. `recover` names the band
    (`synergy.psf_recovery.telescopes`) whose telescope and pixel made the stamp, where it is too coarse or
    has clipped wings: an oversampled PSF is fitted to it, its error added to the noise. The pixels must be
    the detector's; those further than `reach` (arcsec) from its centre are not used, for tapered stamps.
    """

    pixel_scale: float | None = Field(None, gt=0)
    center: tuple[float, float] | None = None
    recentre: bool = False
    recover: str | None = None
    reach: float | None = Field(None, gt=0)


class MaskEntry(PlaneEntry):
    """A mask; only the named `bits` (from 0) are bad, or any value but 0 if none are named."""

    bits: tuple[Annotated[int, Field(ge=0, le=62)], ...] | None = None


def _named(value: Any) -> Any:
    """Allow a bare file name for an entry."""
    return {"file": value} if isinstance(value, str) else value


class NoiseEntry(_Strict):
    """A noise map: exactly one of `rms`, `variance`, `ivar`."""

    rms: Annotated[PlaneEntry | None, BeforeValidator(_named)] = None
    variance: Annotated[PlaneEntry | None, BeforeValidator(_named)] = None
    ivar: Annotated[PlaneEntry | None, BeforeValidator(_named)] = None

    @model_validator(mode="after")
    def _one(self) -> "NoiseEntry":
        if sum(entry is not None for entry in (self.rms, self.variance, self.ivar)) != 1:
            raise ValueError("give exactly one of rms, variance, ivar")
        return self


class CorrelationEntry(_Strict):
    """A known autocorrelation, and the variance that is independent between pixels all the same."""

    correlation: Annotated[PlaneEntry, BeforeValidator(_named)]
    independent: Annotated[PlaneEntry | None, BeforeValidator(_named)] = None


class ImageEntry(_Strict):
    """One image.

    `gain` goes with ``noise: estimate``. `correlated: false` says that the noise map is right and its pixels
    independent, as in images that were never resampled; by default that is measured on blank sky, and
    `inflate` keeps the noise diagonal. A known correlation goes with a noise map.
    """

    band: str
    name: str | None = None
    image: Annotated[PlaneEntry, BeforeValidator(_named)]
    noise: Literal["estimate"] | NoiseEntry
    gain: float | None = Field(None, gt=0)
    correlated: Literal[True, False, "inflate"] | CorrelationEntry = True
    mask: Annotated[MaskEntry | None, BeforeValidator(_named)] = None
    psf: Annotated[PSFEntry, BeforeValidator(_named)]
    zeropoint: float | str
    calibration_error: float = Field(0.0, ge=0, lt=1)
    response: dict[str, float] | None = None
    distorted: bool = False

    @model_validator(mode="after")
    def _noise_belongs_together(self) -> "ImageEntry":
        if self.gain is not None and self.noise != "estimate":
            raise ValueError("gain goes with 'noise: estimate'; a noise map holds the Poisson noise already")
        if isinstance(self.correlated, CorrelationEntry) and self.noise == "estimate":
            raise ValueError("a given correlation goes with a noise map, not with 'noise: estimate'")
        return self

    def locate(self, root: Path) -> ImageSpec:
        """Return where the parts lie, with paths resolved."""
        noise, kind = None, "estimate"
        if isinstance(self.noise, NoiseEntry):
            kind, entry = next((k, e) for k, e in self.noise if e is not None)
            noise = entry.locate(root)
        correlated, independent = self.correlated, None
        if isinstance(correlated, CorrelationEntry):
            independent = correlated.independent and correlated.independent.locate(root)
            correlated = correlated.correlation.locate(root)
        return ImageSpec(
            name=self.name or self.band,
            band=self.band,
            image=self.image.locate(root),
            psf=self.psf.locate(root),
            noise=noise,
            noise_kind=kind,
            zeropoint=self.zeropoint,
            mask=None if self.mask is None else self.mask.locate(root),
            mask_bits=None if self.mask is None else self.mask.bits,
            psf_pixel_scale=self.psf.pixel_scale,
            psf_center=self.psf.center,
            gain=self.gain,
            correlated=correlated,
            independent=independent,
            calibration_error=self.calibration_error,
            response=self.response,
            distorted=self.distorted,
            recentre_psf=self.psf.recentre,
            recover=self.psf.recover,
            psf_reach=self.psf.reach or math.inf,
        )


class Manifest(_Strict):
    """The images of one patch of sky."""

    root: Path = Path()
    images: tuple[ImageEntry, ...] = Field(min_length=1)


def manifest_images(path: Path) -> list[ImageSpec]:
    """Return where the images of a manifest lie.

    Raises
    ------
    InputError
        If the manifest is missing or wrong; the message names the key.
    """
    manifest = config.load(path, Manifest)
    root = path.parent / manifest.root
    return [entry.locate(root) for entry in manifest.images]
