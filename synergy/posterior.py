"""The result: draws of the scene, what they say, and how well they explain the data.

Everything is derived from the draws: the mean, the standard deviation and the quantiles are per-pixel
summaries, and the uncertainty of any other quantity (a flux, a colour, a size) is the spread of that
quantity over the draws, because pixels and bands are correlated in the posterior.

File format (`posterior.fits`), one HDU each: PRIMARY (provenance) · MEAN · STD · DRAWS · BANDS (table) ·
SUPPORT · ``RES_<image>`` per input · DIAG (table: image, n_pixels, chi2 per draw). Images are float32 with
a celestial WCS; those of the scene are in nJy per pixel of the scene, the residuals are in units of sigma.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from jaxtyping import Bool, Float, Int

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import replacing
from synergy.io.images import open_fits

ZEROPOINT = 31.4
"""AB magnitude of 1 nJy."""

_CARDS = {
    "version": ("VERSION", "version of synergy"),
    "commit": ("COMMIT", "source revision"),
    "config_hash": ("CONFHASH", "hash of the settings"),
    "seed": ("SEED", "random seed"),
    "prior": ("PRIOR", "identifier of the prior"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of one scene given its observations.

    Parameters
    ----------
    draws
        Posterior draws in nJy/pixel, ``(draw, band, y, x)``.
    frame
        The scene's frame.
    bands
        Names of the scene's bands.
    images
        Names of the observations.
    chi2
        Sum of squared whitened residuals, ``(draw, image)``.
    n_pixels
        Number of pixels with information, ``(image,)``.
    residuals
        Per image, the whitened residual ``(data - model) / sigma`` of the posterior mean (NaN where masked).
    residual_frames
        Per image, the frame of its residual.
    support
        Share of each scene pixel's information that came from the data, 0 to 1, ``(band, y, x)``.
    observed
        False for bands that no image saw: they come from the prior alone, ``(band,)``.
    band_scale
        Flux of each band relative to the prior's unit scene, ``(band,)``.
    meta
        Provenance, anything JSON can hold. Well-known keys: ``version commit config_hash seed prior inputs``,
        ``scale`` (the estimate of the scene's flux scale, nJy/pixel), ``scales`` (that of each draw, the
        estimate itself where it is not sampled) and ``notes`` (what a user must know about the inputs).
    """

    draws: Float[np.ndarray, "draw band y x"]
    frame: Frame
    bands: tuple[str, ...]
    images: tuple[str, ...]
    chi2: Float[np.ndarray, "draw image"]
    n_pixels: Int[np.ndarray, " image"]
    residuals: dict[str, Float[np.ndarray, "_ _"]]
    residual_frames: dict[str, Frame]
    support: Float[np.ndarray, "band y x"]
    observed: Bool[np.ndarray, " band"]
    band_scale: Float[np.ndarray, " band"]
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def mean(self) -> Float[np.ndarray, "band y x"]:
        """Posterior mean, nJy/pixel."""
        return self.draws.mean(axis=0)

    @property
    def std(self) -> Float[np.ndarray, "band y x"]:
        """Posterior standard deviation per pixel, nJy/pixel (zero for a single draw)."""
        return self.draws.std(axis=0, ddof=min(1, len(self.draws) - 1))

    @property
    def chi2_per_pixel(self) -> Float[np.ndarray, " image"]:
        """Median over the draws of chi2 per unmasked pixel."""
        return np.median(self.chi2, axis=0) / np.maximum(self.n_pixels, 1)

    @property
    def covered(self) -> Bool[np.ndarray, "y x"]:
        """Scene pixels that lie on some image; what lies beyond is extrapolated by the prior."""
        pixels = np.moveaxis(np.indices(self.frame.shape), 0, -1)
        covered = np.zeros(self.frame.shape, bool)
        for frame in self.residual_frames.values():
            matrix, offset = self.frame.affine_to(frame, tolerance=np.inf)  # whole pixels are enough
            position = pixels @ matrix.T + offset
            covered |= np.all((position > -0.5) & (position < np.array(frame.shape) - 0.5), axis=-1)
        return covered

    def quantile(self, q: float | tuple[float, ...]) -> Float[np.ndarray, "..."]:
        """Return per-pixel quantiles in nJy/pixel.

        Parameters
        ----------
        q
            Probability or probabilities; several give a leading axis.
        """
        return np.quantile(self.draws, np.asarray(q), axis=0)

    def flux(self, region: Bool[np.ndarray, "y x"] | None = None) -> Float[np.ndarray, "draw band"]:
        """Return the flux of every draw in nJy, summed over the whole scene or a region such as `covered`."""
        selected = self.draws if region is None else self.draws * region
        return selected.sum(axis=(2, 3), dtype=np.float64)

    def aperture(self, radius: float, center: SkyCoord | None = None) -> Bool[np.ndarray, "y x"]:
        """Return the region of scene pixels within a circle.

        Parameters
        ----------
        radius
            Radius in arcsec.
        center
            Centre of the circle; the centre of the scene when omitted.

        Raises
        ------
        InputError
            If no pixel centre lies inside.
        """
        x0, y0 = self.frame.wcs.world_to_pixel(self.frame.center if center is None else center)
        y, x = np.indices(self.frame.shape)
        region = np.hypot(y - y0, x - x0) * self.frame.pixel_scale <= radius
        if not region.any():
            raise InputError(
                "aperture",
                f"a circle of {radius} arcsec that holds no scene pixel",
                "a circle on the scene",
                "Check its centre and radius.",
            )
        return region

    def write(self, path: Path | str) -> None:
        """Write ``posterior.fits``, whole or not at all."""
        scene = self.frame.header()
        hdus = [
            self._primary(),
            _image("MEAN", self.mean, scene, "nJy"),
            _image("STD", self.std, scene, "nJy"),
            _image("DRAWS", self.draws, scene, "nJy"),
            self._bands_table(),
            _image("SUPPORT", self.support, scene, ""),
            *(_residual(name, self.residuals[name], self.residual_frames[name]) for name in self.images),
            self._diagnostics_table(),
        ]
        with replacing(Path(path)) as temporary:
            fits.HDUList(hdus).writeto(temporary, overwrite=True, checksum=True)

    @classmethod
    def read(cls, path: Path | str) -> "Posterior":
        """Read ``posterior.fits``.

        Raises
        ------
        InputError
            If the file is missing, damaged or no posterior.
        """
        try:
            with open_fits(Path(path)) as hdus:
                return cls._from_hdus(hdus)
        except KeyError as error:
            raise InputError(
                path,
                f"{type(error).__name__}: {error}",
                "a posterior.fits written by synergy",
                "Check the path, or reconstruct again.",
            ) from error

    @classmethod
    def _from_hdus(cls, hdus: fits.HDUList) -> "Posterior":
        bands, diagnostics = hdus["BANDS"].data, hdus["DIAG"].data
        draws = _native(hdus["DRAWS"].data)
        images = tuple(str(name) for name in diagnostics["image"])
        by_name = {hdu.header["IMAGE"]: hdu for hdu in hdus if hdu.name.startswith("RES_")}
        residuals = {name: _native(by_name[name].data) for name in images}
        return cls(
            draws=draws,
            frame=Frame.from_header(hdus["MEAN"].header, draws.shape[2:], source="MEAN"),
            bands=tuple(str(name) for name in bands["name"]),
            images=images,
            chi2=np.asarray(diagnostics["chi2"], np.float64).reshape(len(images), -1).T,
            n_pixels=np.asarray(diagnostics["n_pixels"], np.int64),
            residuals=residuals,
            residual_frames={
                n: Frame.from_header(by_name[n].header, residuals[n].shape, source=n) for n in images
            },
            support=_native(hdus["SUPPORT"].data),
            observed=np.asarray(bands["observed"], bool),
            band_scale=np.asarray(bands["band_scale"], np.float64),
            meta=json.loads(hdus[0].header["META"]),
        )

    def _primary(self) -> fits.PrimaryHDU:
        hdu = fits.PrimaryHDU()
        for key, (card, comment) in _CARDS.items():
            if self.meta.get(key) is not None:
                hdu.header[card] = (self.meta[key], comment)
        for number, name in enumerate(self.meta.get("inputs", ()), start=1):
            hdu.header[f"INPUT{number}"] = str(name)
        hdu.header["META"] = json.dumps(self.meta)
        return hdu

    def _bands_table(self) -> fits.BinTableHDU:
        count = len(self.bands)
        columns = [
            fits.Column("name", "32A", array=np.array(self.bands)),
            fits.Column("observed", "L", array=self.observed),
            fits.Column("prior_only", "L", array=~self.observed),
            fits.Column("zeropoint", "D", unit="mag", array=np.full(count, ZEROPOINT)),
            fits.Column("band_scale", "D", array=self.band_scale),
        ]
        return fits.BinTableHDU.from_columns(columns, name="BANDS")

    def _diagnostics_table(self) -> fits.BinTableHDU:
        columns = [
            fits.Column("image", "64A", array=np.array(self.images)),
            fits.Column("n_pixels", "K", array=self.n_pixels),
            fits.Column("chi2", f"{len(self.draws)}D", array=self.chi2.T),
        ]
        return fits.BinTableHDU.from_columns(columns, name="DIAG")


def _image(name: str, array: Float[np.ndarray, "..."], header: fits.Header, unit: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.asarray(array, np.float32), header=header, name=name)
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu


def _residual(name: str, array: Float[np.ndarray, "y x"], frame: Frame) -> fits.ImageHDU:
    hdu = _image(f"RES_{name}", array, frame.header(), "")
    hdu.header["IMAGE"] = (name, "observation, as written")
    return hdu


def _native(array: np.ndarray) -> Float[np.ndarray, "..."]:
    return np.ascontiguousarray(array, dtype=np.float32)
