"""How many galaxies there are, and how large, far and concentrated: distributions to draw mocks from.

*Shapes.* Magnitude, half-light radius, redshift, Sersic index and axis ratio are drawn together, as rows of
the COSMOS F814W < 23.5 sample (Mandelbaum et al. 2014). `Population.shipped` needs no catalogue: its table
holds rows drawn from a kernel density of that sample (`smoothed`), none of them a galaxy of the sample.
``python -m data_prep.population CATALOGUE OUT`` makes it again.

*Other magnitudes.* A galaxy of any magnitude is a row of a near one, carried over by two relations:

- Sizes follow ``log r ~ -0.1 m`` (r ~ flux^0.25), between the sample's own slope, -0.08, and the -0.117
  of discs with 18.5 < F814W < 25.5 (Miller et al. 2013).
- Redshifts grow with the mean redshift at a magnitude, ``z(m)``, of the three types of galaxies that
  Benitez (2000) fitted to the Hubble Deep Field (F814W AB, from 20): ``p(z | m) ~ z^a exp(-(z / z_m)^a)``
  with ``z_m = z_0 + k (m - 20)`` for each type.

*Counts.* Galaxies brighter than m number ``46 * 10^(0.31 (m - 25))`` per square arcmin (i band, 20.5 to
25.5, CFHTLS Deep; LSST Science Collaboration 2009, section 3.7), and are taken to go on like this.

References
----------
Benitez 2000, ApJ 536, 571 (table 1); LSST Science Collaboration 2009, arXiv:0912.0201; Mandelbaum et al.
2014, ApJS 212, 5; Miller et al. 2013, MNRAS 429, 2858 (appendix B); Silverman 1986, section 6.4.1 (smoothed
bootstrap).
"""

import argparse
import dataclasses
import functools
import importlib.resources
from collections.abc import Iterable
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Float
from scipy.special import expit, gamma, logit

from synergy.errors import InputError
from synergy.io.atomic import replacing
from synergy.io.images import open_fits

BRIGHT, FAINT, NEAR = 20.5, 23.0, 0.75
"""Magnitudes between which the sample is dense, and how close is near."""

NEAREST, FARTHEST = 0.02, 2.5
"""Redshifts that are drawn; beyond, hydrogen between the galaxies dims u, which no template here knows."""

SIZE_SLOPE, COUNT_SLOPE = -0.1, 0.31

_PIXEL = 0.03  # arcsec, of the COSMOS images
_TYPES = np.array(
    [  # a, z_0, k, share at 20 mag and its decline per mag; irregulars are the rest
        (2.465, 0.431, 0.0913, 0.35, 0.450),
        (1.806, 0.390, 0.0636, 0.50, 0.147),
        (0.906, 0.0626, 0.123, np.nan, np.nan),
    ]
)


def counts(magnitude: float) -> float:
    """Return the number of galaxies per square arcmin that are brighter than an F814W magnitude."""
    return float(46.0 * 10 ** (COUNT_SLOPE * (magnitude - 25.0)))


def draw_magnitude(
    bright: float, faint: float, rng: np.random.Generator, slope: float = COUNT_SLOPE
) -> float:
    """Draw a magnitude from counts ``10^(slope m)`` between two limits."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return float(np.log10(low + rng.random() * (high - low)) / slope)


def typical_redshift(magnitude: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
    """Return the mean redshift of galaxies of an F814W magnitude; that of 20 mag for brighter ones."""
    fainter = np.maximum(np.asarray(magnitude, np.float64)[..., None] - 20.0, 0.0)
    a, zero, growth, share, decline = _TYPES.T
    shares = share * np.exp(-decline * fainter)
    shares[..., -1] = 1.0 - shares[..., :-1].sum(axis=-1)
    means = (zero + growth * fainter) * gamma((a + 2.0) / a) / gamma((a + 1.0) / a)
    return np.asarray(np.sum(shares * means, axis=-1))


@dataclasses.dataclass(frozen=True, eq=False)
class Population:
    """Galaxies to draw from, one per row.

    Parameters
    ----------
    magnitude
        F814W, AB.
    radius
        Half-light radius in a round aperture, arcsec.
    redshift
        Redshift.
    sersic
        Sersic index of the best single profile.
    axis_ratio
        Its axis ratio.
    """

    magnitude: Float[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    redshift: Float[np.ndarray, " n"]
    sersic: Float[np.ndarray, " n"]
    axis_ratio: Float[np.ndarray, " n"]

    @classmethod
    def read(cls, path: Path) -> "Population":
        """Read ``cosmos_23.5_500_sersic_fits.fits`` of the GalSim COSMOS sample.

        Raises
        ------
        InputError
            If the file cannot be read as such, or has no galaxies near some magnitude.
        """
        names = ("mag_auto", "flux_radius", "zphot", "sersicfit")
        with open_fits(path) as file:
            try:
                columns = [np.asarray(file[1].data[name], np.float64) for name in names]
                magnitude, radius, redshift, (_, _, sersic, axis_ratio) = *columns[:3], columns[3].T[:4]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InputError(
                    path,
                    " ".join(str(error).split()),
                    f"a table with {', '.join(names)} in the first extension",
                    "Point to the COSMOS catalogue.",
                ) from error
        return cls._checked(path, (magnitude, _PIXEL * radius, redshift, sersic, axis_ratio))

    @classmethod
    def shipped(cls) -> "Population":
        """Return the population of the table that comes with the package."""
        return _shipped()

    @classmethod
    def _checked(cls, path: object, columns: Iterable[Float[np.ndarray, " n"]]) -> "Population":
        """Leave out rows without numbers, and refuse what is left if it has gaps."""
        rows = np.stack(list(columns))
        population = cls(*rows[:, np.all(np.isfinite(rows) & (rows > 0), axis=0)])
        for wanted in np.linspace(BRIGHT, FAINT, 251):
            if not np.any(np.abs(population.magnitude - wanted) < NEAR):
                raise InputError(
                    path,
                    f"no usable galaxy within {NEAR} mag of {wanted:.2f}",
                    f"galaxies of all magnitudes from {BRIGHT} to {FAINT}",
                    "Use the whole catalogue.",
                )
        return population

    def draw(self, magnitude: float, rng: np.random.Generator) -> tuple[float, float]:
        """Draw half-light radius (arcsec) and redshift of a galaxy of given F814W magnitude.

        Rows that would come to lie beyond the redshifts of mocks are left out, unless all of them are.
        """
        near = np.abs(self.magnitude - np.clip(magnitude, BRIGHT, FAINT)) < NEAR
        redshift = self.redshift * typical_redshift(magnitude) / typical_redshift(self.magnitude)
        usable = near & (redshift > NEAREST) & (redshift < FARTHEST)
        row = int(rng.choice(np.flatnonzero(usable if usable.any() else near)))
        radius = self.radius[row] * 10 ** (SIZE_SLOPE * (magnitude - self.magnitude[row]))
        return float(radius), float(np.clip(redshift[row], NEAREST, FARTHEST))


@functools.cache
def _shipped() -> Population:
    resource = importlib.resources.files("data_prep") / "tables" / "population.ecsv"
    with importlib.resources.as_file(resource) as path:
        return read_table(path)


def smoothed(
    population: Population, number: int, rng: np.random.Generator, bandwidth: float = 0.25
) -> Population:
    """Draw new rows from a kernel density of a population, with the means and covariances of the old ones.

    The kernel is Gaussian in magnitude, ln(radius), ln(redshift), ln(sersic) and logit(axis_ratio), with the
    covariance of the rows times ``bandwidth^2``; rows shrink towards their mean by as much as the kernel
    spreads them. The sample's limits in magnitude and Sersic index reflect what falls beyond.

    Parameters
    ----------
    population
        The old rows.
    number
        How many new rows.
    rng
        Random numbers.
    bandwidth
        Width of the kernel over that of the distribution.
    """
    old = np.stack(
        [
            population.magnitude,
            np.log(population.radius),
            np.log(population.redshift),
            np.log(population.sersic),
            logit(np.minimum(population.axis_ratio, 0.99)),
        ]
    )
    mean = old.mean(axis=1, keepdims=True)
    kernel = rng.multivariate_normal(np.zeros(5), bandwidth**2 * np.cov(old), number, method="cholesky").T
    rows = old[:, np.arange(number) % old.shape[1]]  # all alike, for the least scatter
    new = mean + np.sqrt(1.0 - bandwidth**2) * (rows - mean) + kernel
    for column in (0, 3):
        limit = old[column].max()
        new[column] = np.where(new[column] > limit, 2.0 * limit - new[column], new[column])
    return Population(new[0], *np.exp(new[1:4]), expit(new[4]))


def write_table(population: Population, path: Path) -> None:
    """Write a population as an ECSV table, to three decimals."""
    units = {"magnitude": u.mag, "radius": u.arcsec}
    table = Table({name: np.round(values, 3) for name, values in vars(population).items()}, units=units)
    table.meta["comments"] = [
        "Kernel density of the COSMOS F814W < 23.5 sample (Mandelbaum et al. 2014), see data_prep.population"
    ]
    with replacing(path) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)


def read_table(path: Path) -> Population:
    """Read a table that `write_table` wrote.

    Raises
    ------
    InputError
        If it is no such table, or has no galaxies near some magnitude.
    """
    names = [field.name for field in dataclasses.fields(Population)]
    try:
        table = Table.read(path, format="ascii.ecsv")
        columns = [np.asarray(table[name], np.float64) for name in names]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            path, " ".join(str(error).split()), f"an ECSV table of {', '.join(names)}", "Make it again."
        ) from error
    return Population._checked(path, columns)


def main() -> None:
    """Read the command line and make the table that is shipped."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.population", description="Smooth the COSMOS catalogue into a table."
    )
    parser.add_argument("catalogue", type=Path, help="cosmos_23.5_500_sersic_fits.fits")
    parser.add_argument("out", type=Path, help="ECSV file to write")
    parser.add_argument("--number", type=int, default=1000, help="rows")
    arguments = parser.parse_args()
    try:
        population = smoothed(
            Population.read(arguments.catalogue), arguments.number, np.random.default_rng(0)
        )
        write_table(population, arguments.out)
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
