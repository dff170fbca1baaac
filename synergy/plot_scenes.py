"""A sheet of small colour pictures of scenes, each on its own brightness.

Scenes are those of a prior, in its units. Each is divided by its flux scale (`synergy.priors.scale`), but by
no less than `FAINTEST` of it, so that an empty scene looks empty. The stretch (Lupton et al. 2004, PASP 116,
133) is that of faint outskirts: a hundredth of the scale is still seen.
"""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from synergy.io.atomic import replacing
from synergy.plot import choose_rgb
from synergy.priors.scale import scene_scale

FAINTEST = 0.02
PANEL = 1.5  # inches


def plot_scenes(
    normalised: Float[np.ndarray, "draw band y x"],
    bands: Sequence[str],
    pixel_scale: float,
    path: Path,
    columns: int = 8,
    titles: Sequence[str] | None = None,
) -> None:
    """Draw the sheet.

    Parameters
    ----------
    normalised
        Scenes in a prior's units.
    bands
        Their bands.
    pixel_scale
        Their pixel scale in arcsec.
    path
        File to write; its ending names the format.
    columns
        Pictures per row.
    titles
        A few letters above each picture.
    """
    from astropy.visualization import make_lupton_rgb
    from matplotlib.figure import Figure

    chosen = choose_rgb(bands)
    planes = normalised[:, [bands.index(name) for name in chosen]]
    scale = scene_scale(jnp.asarray(normalised), jnp.ones(len(bands), jnp.float32), pixel_scale)
    planes = planes / np.maximum(np.asarray(scale), FAINTEST)[:, None, None, None]
    rows = -(-len(planes) // columns)
    # A picture's pixels are drawn one to one: structure of single pixels must be seen.
    dots = max(110.0, planes.shape[-1] / PANEL)
    figure = Figure(figsize=(columns * PANEL, rows * PANEL + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for index, (panel, (red, green, blue)) in enumerate(zip(panels.flat, planes, strict=False)):
        picture = make_lupton_rgb(red, green, blue, minimum=-0.01, stretch=0.05, Q=8)
        panel.imshow(picture, origin="lower", interpolation="nearest")
        if titles is not None:
            panel.set_title(titles[index], fontsize=6, pad=1)
    names = zip(("red", "green", "blue"), chosen, strict=True)
    figure.supxlabel(", ".join(f"{colour} {name}" for colour, name in names), fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dots)
