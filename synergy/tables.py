"""Tables of a reconstruction for the terminal."""

from rich.table import Table

from synergy.info import fluxes
from synergy.observation import Observation
from synergy.posterior import Posterior


def image_table(posterior: Posterior, observations: list[Observation]) -> Table:
    """Return how well each image is explained.

    Parameters
    ----------
    posterior
        The result.
    observations
        Its images.
    """
    table = Table("image", "pixels", "chi2/pixel", "of pure noise", "response error")
    by_name = {o.name: o.meta for o in observations}
    for name, count, value in zip(
        posterior.images, posterior.n_pixels, posterior.chi2_per_pixel, strict=True
    ):
        meta = by_name[name]
        expected, error = meta.get("expected_chi2"), meta.get("response_error", 0.0)
        table.add_row(
            name, str(count), f"{value:.3f}", "1" if expected is None else f"{expected:.3f}", f"{error:.1%}"
        )
    return table


def band_table(posterior: Posterior) -> Table:
    """Return what is known of each band.

    Parameters
    ----------
    posterior
        The result.
    """
    table = Table("band", "observed", "flux on the images", "support (median)")
    support = posterior.support.reshape(len(posterior.bands), -1)
    for index, (band, seen) in enumerate(zip(posterior.bands, posterior.observed, strict=True)):
        median = f"{float(sorted(support[index])[support.shape[1] // 2]):.2f}"
        table.add_row(band, "yes" if seen else "prior only", fluxes(posterior)[index], median)
    return table
