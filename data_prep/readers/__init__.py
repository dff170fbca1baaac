"""One file per source format of simulated and real galaxies."""
