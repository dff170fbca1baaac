"""PSFs that are not one stamp: chromatic, varying over the field, or both.

A broad band such as VIS (550 to 900 nm) sees red light through a wider PSF than blue light, and every PSF
changes over a detector. Both are a short sum of terms,

    P(q; b) = sum_t [b in bands_t] w_t(q) P_t,

with q a position on the image and b a band of the scene: one term per band for a chromatic PSF; the
coefficient maps and basis stamps of PSFEx (Bertin 2011, ASPC 442, 435) or of a principal-component model for
one that varies over the field. Basis stamps need neither unit nor positive sum; what they add up to does.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from synergy.errors import InputError
from synergy.psf import PSF

UNIT_SUM = 0.01
"""Largest departure from one of the light in a PSF, anywhere on the image, that is no mistake."""


@dataclasses.dataclass(frozen=True, eq=False)
class PSFTerm:
    """One term of a sum.

    Parameters
    ----------
    psf
        Stamp, in the axes of the image's pixels.
    bands
        Bands of the scene whose light meets it; None for all.
    weight
        Weight ``w(q)`` over the image's pixels; None for one everywhere.
    """

    psf: PSF
    bands: tuple[str, ...] | None = None
    weight: Float[np.ndarray, "y x"] | None = None

    def sees(self, band: str) -> bool:
        """Return whether light of a band meets this term."""
        return self.bands is None or band in self.bands


@dataclasses.dataclass(frozen=True, eq=False)
class VaryingPSF:
    """A PSF that depends on the band of the light, on the position on the image, or on both.

    Parameters
    ----------
    terms
        What it is the sum of; their stamps share one pixel scale.

    Raises
    ------
    InputError
        If there is no term, pixel scales or the shapes of weights differ, a weight is not finite, or the
        terms that a band meets do not add up to unit sum everywhere.
    """

    terms: tuple[PSFTerm, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("PSF", "no term", "at least one", "Give one stamp at least.")
        scales = {term.psf.pixel_scale for term in self.terms}
        if len(scales) > 1:
            raise InputError(
                "PSF", f"stamps of {sorted(scales)} arcsec per pixel", "one pixel scale", "Resample them."
            )
        shapes = {term.weight.shape for term in self.terms if term.weight is not None}
        if len(shapes) > 1:
            raise InputError(
                "PSF", f"weights of shapes {sorted(shapes)}", "one shape", "Give them on the image's pixels."
            )
        if not all(np.all(np.isfinite(t.weight)) for t in self.terms if t.weight is not None):
            raise InputError("PSF", "a weight that is not finite", "finite weights", "Repair the PSF model.")
        for band in self._groups:
            light = sum(t.psf.image.sum() * (1.0 if t.weight is None else t.weight) for t in self._met(band))
            if np.max(np.abs(light - 1)) > UNIT_SUM:
                raise InputError(
                    "PSF" if band is None else f"PSF for {band}",
                    f"terms that add up to between {np.min(light):.4g} and {np.max(light):.4g}",
                    "a unit sum everywhere on the image",
                    "Divide the terms by their sum.",
                )

    @classmethod
    def chromatic(cls, psfs: Mapping[str, PSF]) -> "VaryingPSF":
        """Return the PSF of an image that sees each band of the scene through a PSF of its own.

        Parameters
        ----------
        psfs
            Scene band -> PSF.
        """
        return cls(tuple(PSFTerm(psf, (band,)) for band, psf in psfs.items()))

    @classmethod
    def over_field(cls, stamps: Sequence[PSF], weights: Float[np.ndarray, "term y x"]) -> "VaryingPSF":
        """Return a PSF that varies over the field.

        Parameters
        ----------
        stamps
            Basis stamps.
        weights
            Weight of each over the image's pixels.
        """
        return cls(tuple(PSFTerm(psf, None, w) for psf, w in zip(stamps, np.asarray(weights), strict=True)))

    @functools.cached_property
    def fwhm(self) -> float:
        """FWHM in arcsec in the middle of the image, of the band with the sharpest PSF."""
        return min(self.at(None, band).fwhm for band in self._groups)

    def at(self, pixel: tuple[int, int] | None = None, band: str | None = None) -> PSF:
        """Return the PSF of one band at one place.

        Parameters
        ----------
        pixel
            Pixel (y, x) of the image; None for its middle.
        band
            Band of the scene; None where all see the same.
        """
        met = self._met(band)
        shape = np.max([term.psf.image.shape for term in met], axis=0)
        if any(np.any((shape - term.psf.image.shape) % 2) for term in met):
            raise InputError(
                "PSF", "stamps of odd and of even sizes", "all odd or all even", "Pad them to one parity."
            )
        total = np.zeros(shape)
        for term in met:
            margin = (shape - term.psf.image.shape) // 2
            total += _value(term.weight, pixel) * np.pad(term.psf.image, [(m, m) for m in margin])
        return PSF(total, self.terms[0].psf.pixel_scale)

    def rows(
        self, response: Float[np.ndarray, " band"], bands: Sequence[str]
    ) -> Float[np.ndarray, "term band"]:
        """Return the weight of each scene band in each term of an image.

        Parameters
        ----------
        response
            Weight of each scene band in the image.
        bands
            Bands of the scene.

        Raises
        ------
        InputError
            If the image sees a band that meets no term.
        """
        seen = np.array([[term.sees(band) for band in bands] for term in self.terms])
        lost = [
            band
            for band, weight, any_ in zip(bands, response, seen.any(axis=0), strict=True)
            if weight != 0 and not any_
        ]
        if lost:
            raise InputError(
                "PSF",
                f"no PSF for the light of {', '.join(lost)}",
                "one for each band",
                "Add the missing terms.",
            )
        return seen * response

    @property
    def maps(self) -> Float[np.ndarray, "term y x"] | None:
        """Weight of each term over the image's pixels; None if all are one."""
        weights = [term.weight for term in self.terms]
        shape = next((w.shape for w in weights if w is not None), None)
        if shape is None:
            return None
        return np.stack([np.ones(shape) if w is None else w for w in weights])

    @property
    def _groups(self) -> tuple[str | None, ...]:
        """Bands that the terms tell apart; None stands for all others."""
        named = dict.fromkeys(band for term in self.terms for band in term.bands or ())
        return (*named, None) if any(term.bands is None for term in self.terms) else tuple(named)

    def _met(self, band: str | None) -> list[PSFTerm]:
        return [
            term for term in self.terms if term.bands is None or (band is not None and band in term.bands)
        ]


def _value(weight: Float[np.ndarray, "y x"] | None, pixel: tuple[int, int] | None) -> float:
    if weight is None:
        return 1.0
    return float(weight[(weight.shape[0] // 2, weight.shape[1] // 2) if pixel is None else pixel])
