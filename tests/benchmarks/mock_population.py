"""Colours, sizes and counts of a set of mocks beside those of catalogues.

``python tests/benchmarks/mock_population.py DIR --data ../shared/data --out FIGURE``, DIR made by
``synergy mock configs/mock/euclid_wide_lsst_y10.yaml``. Colours of all galaxies on the skies stand beside
CatSim's (100 galaxies, LSST *ugrizy*) at the same i magnitudes, and sizes against magnitude beside COSMOS
(500 galaxies with F814W < 23.5, half-light radii in round apertures, HST PSF included). Printed are medians
and 16th and 84th percentiles.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from synergy.io.pairs import PairShards
from synergy.units import magnitude_from_flux

COLOURS = (("u", "g"), ("g", "r"), ("r", "i"), ("i", "z"), ("z", "y"))


def percentiles(values):
    """Return median and 16th and 84th percentiles as text."""
    low, middle, high = np.percentile(values, [16, 50, 84])
    return f"{middle:6.3f} ({low:6.3f} to {high:6.3f}), n = {len(values)}"


def read_mocks(folder):
    """Return magnitudes by band, radii (arcsec) and redshifts of all galaxies of all splits."""
    rows = []
    for split in ("train", "validation", "test"):
        if any(folder.glob(f"pairs-{split}-*.h5")):
            for pair in PairShards.open(folder, split):
                rows += [s for s in pair.sources if s["name"] != "star"]
    bands = rows[0]["fluxes"]
    magnitudes = {b: magnitude_from_flux(np.array([r["fluxes"][b] for r in rows])) for b in bands}
    return magnitudes, np.array([r["radius"] for r in rows]), np.array([r["redshift"] for r in rows])


def main():
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    mocks, radii, redshifts = read_mocks(arguments.folder)
    catalogues = arguments.data / "catalogues"
    catsim = Table.read(catalogues / "catsim_100.fits")
    cosmos = Table.read(catalogues / "cosmos_23.5_500_sersic_fits.fits")
    cosmos_i, cosmos_r = np.array(cosmos["mag_auto"]), 0.03 * np.array(cosmos["flux_radius"])

    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for faint in (23.0, 25.0, 27.0):
        ours = np.abs(mocks["lsst.i"] - faint + 1) < 1
        theirs = np.abs(np.array(catsim["i_ab"]) - faint + 1) < 1
        for blue, red in COLOURS:
            line = f"{blue}-{red} at i {faint - 2:g} to {faint:g}: mocks "
            line += percentiles((mocks[f"lsst.{blue}"] - mocks[f"lsst.{red}"])[ours])
            if theirs.sum() >= 5:
                colour = np.array(catsim[f"{blue}_ab"] - catsim[f"{red}_ab"])[theirs]
                line += f"  CatSim {percentiles(colour)}"
            print(line)  # noqa: T201
    shown = mocks["lsst.i"] < 26
    for axes, ((b1, r1), (b2, r2)) in zip(panels[:4], itertools.pairwise(COLOURS), strict=True):
        ours = [(mocks[f"lsst.{b}"] - mocks[f"lsst.{r}"])[shown] for b, r in ((b1, r1), (b2, r2))]
        axes.plot(*ours, ",", label="mocks, i < 26")
        theirs = [catsim[f"{b}_ab"] - catsim[f"{r}_ab"] for b, r in ((b1, r1), (b2, r2))]
        axes.plot(*theirs, "o", ms=3, label="CatSim")
        axes.set(xlabel=f"{b1} - {r1}", ylabel=f"{b2} - {r2}", xlim=(-0.7, 3), ylim=(-0.7, 2))
        axes.legend()
    panels[4].semilogy(mocks["lsst.i"], radii, ",", label="mocks (i)")
    panels[4].semilogy(cosmos_i, cosmos_r, "o", ms=2, label="COSMOS (F814W)")
    panels[4].set(xlabel="magnitude", ylabel="half-light radius, arcsec", ylim=(0.03, 5), xlim=(18, 28))
    panels[4].legend()
    for magnitude in (21.0, 22.0, 23.0):
        ours, theirs = (np.abs(m - magnitude) < 0.5 for m in (mocks["lsst.i"], cosmos_i))
        for what, mock, real in (
            ("radius", radii, cosmos_r),
            ("redshift", redshifts, np.array(cosmos["zphot"])),
        ):
            line = f"{what} at {magnitude:g}: mocks {percentiles(mock[ours])}"
            print(line, f" COSMOS {percentiles(real[theirs])}")  # noqa: T201
    panels[5].plot(mocks["lsst.i"], redshifts, ",", label="mocks (i)")
    panels[5].plot(cosmos_i, cosmos["zphot"], "o", ms=2, label="COSMOS (F814W)")
    panels[5].set(xlabel="magnitude", ylabel="redshift", xlim=(18, 28), ylim=(0, 3))
    panels[5].legend()
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
