"""Galaxies from simulations and telescopes: one file per source format, all to one `Galaxy`."""

from data_prep.readers.galaxy import Galaxy as Galaxy
from data_prep.readers.galaxy import GalaxyEntry as GalaxyEntry
from data_prep.readers.listing import list_galaxies as list_galaxies
from data_prep.readers.read import read_galaxy as read_galaxy
