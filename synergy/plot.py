"""One figure of a posterior: what was observed, what it means, how sure we are, and what is left over.

One row per image: the data on their own pixels, then the scene *as that image's band sees it* (its response
row applied to mean, standard deviation and draws), then the whitened residual of the mean. Data, mean and
draws share one asinh stretch in surface brightness (nJy/arcsec2), so that pixels of different size compare;
residuals run from -5 to 5 sigma. Bands that no image observed follow, marked as coming from the prior
alone. The top row shows colour composites (Lupton et al. 2004, PASP 116, 133) of the mean and of the draws.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Num

from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import replacing
from synergy.observation import Observation, response_row
from synergy.posterior import Posterior
from synergy.response import respond

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("data", "posterior mean", "posterior std", "draw 1", "draw 2", "draw 3", "residual of mean")
DRAWS = 3
PANEL = 1.75  # inches
LIMIT = 5.0  # sigma
FORMATS = (".png", ".pdf", ".svg", ".jpg")
_RGB_CHOICES = (
    ("euclid.H", "euclid.J", "euclid.Y", "lsst.y", "lsst.z"),
    ("lsst.i", "euclid.vis", "lsst.z", "lsst.r"),
    ("lsst.g", "lsst.r", "lsst.u", "euclid.vis"),
)


def plot_posterior(posterior: Posterior, observations: Sequence[Observation], path: Path | str) -> None:
    """Draw the figure.

    Parameters
    ----------
    posterior
        The result.
    observations
        The images it was made from.
    path
        File to write; its ending (one of `FORMATS`) names the format.

    Raises
    ------
    InputError
        If the ending is no known format, or the observations are not those of the posterior.
    """
    path = check_format(path)
    by_name = {o.name: o for o in respond(observations, posterior.bands)}
    if set(by_name) != set(posterior.images):
        raise InputError(
            "plot_posterior",
            f"observations {', '.join(sorted(by_name))}",
            f"those of the posterior ({', '.join(posterior.images)})",
            "Pass the observations that were reconstructed.",
        )
    posterior = _without_margin(posterior)
    unseen = [b for b, seen in zip(posterior.bands, posterior.observed, strict=True) if not seen]
    rows = [_image_row(posterior, by_name[name]) for name in posterior.images]
    rows += [_prior_row(posterior, band) for band in unseen]
    figure = _draw_figure(posterior, rows)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def check_format(path: Path | str) -> Path:
    """Return a figure's path, or complain about an unknown ending before any work is done."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            path, f"the ending '{path.suffix}'", f"one of {', '.join(FORMATS)}", "Rename the figure."
        )
    return path


def _without_margin(posterior: Posterior) -> Posterior:
    """Cut the scene down to the sky that some image covers."""
    covered, frame = posterior.covered, posterior.frame
    spans = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return dataclasses.replace(
        posterior,
        draws=posterior.draws[:, :, rows, columns],
        support=posterior.support[:, rows, columns],
        frame=Frame(shape, frame.wcs[rows, columns]),
    )


@dataclasses.dataclass(frozen=True)
class _Row:
    """What one row of the figure shows, in surface brightness."""

    title: str
    mean: Float[np.ndarray, "y x"]
    std: Float[np.ndarray, "y x"]
    draws: Float[np.ndarray, "draw y x"]
    noise: float
    data: Float[np.ndarray, "v u"] | None = None
    residual: Float[np.ndarray, "v u"] | None = None
    frame: Frame | None = None
    fit: str = ""


def _image_row(posterior: Posterior, observation: Observation) -> _Row:
    weights = response_row(observation, posterior.bands).astype(np.float32)
    area = posterior.frame.pixel_scale**2
    draws = np.tensordot(weights, posterior.draws, axes=(0, 1)) / area
    index = posterior.images.index(observation.name)
    expected = observation.meta.get("expected_chi2")
    fit = f"$\\chi^2$/pixel {posterior.chi2_per_pixel[index]:.2f}"
    return _Row(
        title=observation.name,
        mean=draws.mean(axis=0),
        std=draws.std(axis=0),
        draws=draws[:DRAWS],
        noise=_pixel_noise(observation),
        data=np.where(observation.mask, np.nan, observation.image) / observation.frame.pixel_scale**2,
        residual=np.where(observation.mask, np.nan, posterior.residuals[observation.name]),
        frame=observation.frame,
        fit=fit if expected is None else f"{fit} (noise {expected:.2f})",
    )


def _pixel_noise(observation: Observation) -> float:
    """Return the scatter of blank pixels per arcsec2, smaller than stated where noise is correlated."""
    stated = float(np.median(observation.ivar[~observation.mask])) ** -0.5
    return stated * (observation.meta.get("expected_chi2") or 1.0) ** 0.5 / observation.frame.pixel_scale**2


def _prior_row(posterior: Posterior, band: str) -> _Row:
    draws = posterior.draws[:, posterior.bands.index(band)] / posterior.frame.pixel_scale**2
    std = draws.std(axis=0)
    return _Row(band, draws.mean(axis=0), std, draws[:DRAWS], max(float(np.median(std)), 1e-12))


def _draw_figure(posterior: Posterior, rows: list[_Row]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = posterior.frame.shape
    size = (
        PANEL * len(COLUMNS) + 1.2,
        PANEL * height / width * (len(rows) + 1) + 0.25 * (len(rows) + 1) + 0.5,
    )
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    panels = figure.subplots(len(rows) + 1, len(COLUMNS), squeeze=False)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    _draw_colours(posterior, panels[0])
    for row, line in zip(rows, panels[1:], strict=True):
        _draw_row(posterior.frame, row, line)
    for title, panel in zip(COLUMNS, panels[1], strict=True):
        panel.set_title(title, fontsize=9)
    _scale_bar(panels[0, 1], posterior.frame)
    return figure


def _draw_row(scene: Frame, row: _Row, line: Sequence["Axes"]) -> None:
    from matplotlib.colors import AsinhNorm

    top = np.nanmax(
        [np.nanmax(row.mean), 5 * row.noise, 0.0 if row.data is None else np.nanpercentile(row.data, 99.8)]
    )
    stretch = AsinhNorm(linear_width=2 * row.noise, vmin=-3 * row.noise, vmax=top)
    line[0].set_ylabel(row.title, fontsize=9)
    if row.data is None:
        line[0].text(
            0.5,
            0.5,
            "not observed:\nprior only",
            ha="center",
            va="center",
            transform=line[0].transAxes,
            fontsize=8,
        )
        line[6].set_axis_off()
    else:
        _show(line[0], row.data, scene, row.frame, norm=stretch, cmap="magma")
        shown = _show(line[6], row.residual, scene, row.frame, vmin=-LIMIT, vmax=LIMIT, cmap="RdBu_r")
        line[6].figure.colorbar(
            shown, ax=line[6], shrink=0.85, aspect=12, ticks=[-LIMIT, 0, LIMIT], label="sigma"
        )
        line[6].set_xlabel(row.fit, fontsize=7)
    _show(line[1], row.mean, scene, scene, norm=stretch, cmap="magma")
    spread = AsinhNorm(linear_width=2 * row.noise, vmin=0.0, vmax=max(float(row.std.max()), 1e-12))
    _show(line[2], row.std, scene, scene, norm=spread, cmap="magma")
    line[2].set_xlabel(f"peak {row.std.max() / max(row.mean.max(), 1e-12):.0%} of mean's", fontsize=7)
    for index, panel in enumerate(line[3:6]):
        if index < len(row.draws):
            _show(panel, row.draws[index], scene, scene, norm=stretch, cmap="magma")
        else:
            panel.set_axis_off()


def _show(
    panel: "Axes", image: Num[np.ndarray, "..."], scene: Frame, frame: Frame, **style: object
) -> object:
    """Show an image on its own pixels, placed on the axes of the scene (scene pixels, y up)."""
    from matplotlib.transforms import Affine2D

    matrix, offset = (np.eye(2), np.zeros(2)) if frame is scene else _place(frame, scene)
    # Frames speak (y, x), matplotlib (x, y).
    place = Affine2D(
        [[matrix[1, 1], matrix[1, 0], offset[1]], [matrix[0, 1], matrix[0, 0], offset[0]], [0, 0, 1]]
    )
    panel.set_facecolor("0.5")
    shown = panel.imshow(
        image, origin="lower", interpolation="nearest", transform=place + panel.transData, **style
    )
    panel.set(xlim=(-0.5, scene.shape[1] - 0.5), ylim=(-0.5, scene.shape[0] - 0.5), aspect="equal")
    return shown


def _place(frame: Frame, scene: Frame) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
    """Return the affine map that comes nearest: a distorted image is shown as good as straight."""
    return frame.affine_to(scene, tolerance=np.inf)


def _draw_colours(posterior: Posterior, line: Sequence["Axes"]) -> None:
    """Show colour composites of the mean and the draws, and say of which bands."""
    chosen = rgb_bands(posterior)
    scale = posterior.band_scale[[posterior.bands.index(b) for b in chosen]][:, None, None]
    index = [posterior.bands.index(b) for b in chosen]
    mean = posterior.mean[index] / scale
    bright = float(np.percentile(mean.mean(axis=0), 99.9))
    names = "\n".join(
        f"{colour}: {band}" for colour, band in zip(("red", "green", "blue"), chosen, strict=True)
    )
    line[0].text(0.5, 0.5, names, ha="center", va="center", transform=line[0].transAxes, fontsize=8)
    for panel in (line[0], line[2], line[6]):
        panel.set_axis_off()
    for column, planes in [
        (1, mean),
        *((3 + i, d[index] / scale) for i, d in enumerate(posterior.draws[:DRAWS])),
    ]:
        _show(line[column], _composite(planes, bright), posterior.frame, posterior.frame)
    for panel in line[3 + min(DRAWS, len(posterior.draws)) : 6]:
        panel.set_axis_off()


def rgb_bands(posterior: Posterior) -> tuple[str, str, str]:
    """Return the bands shown as red, green and blue: observed ones where there are."""
    observed = [b for b, seen in zip(posterior.bands, posterior.observed, strict=True) if seen]
    return choose_rgb(observed or posterior.bands)


def choose_rgb(bands: Sequence[str]) -> tuple[str, str, str]:
    """Choose the bands shown as red, green and blue: well-known ones, or by their order."""
    chosen = []
    for position, wanted in enumerate(_RGB_CHOICES):
        liked = next((b for b in wanted if b in bands), None)
        chosen.append(liked or bands[(len(bands) - 1) * (2 - position) // 2])
    return chosen[0], chosen[1], chosen[2]


def _composite(planes: Float[np.ndarray, "3 y x"], bright: float) -> np.ndarray:
    from astropy.visualization import make_lupton_rgb

    bright = max(bright, 1e-12)
    red, green, blue = planes / bright
    return make_lupton_rgb(red, green, blue, minimum=-0.01, stretch=0.12, Q=8)


def _scale_bar(panel: "Axes", frame: Frame) -> None:
    """Draw a bar of a round number of arcsec, a quarter of the panel or less."""
    room = frame.shape[1] * frame.pixel_scale / 4
    length = max((n for n in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if n <= room), default=room)
    left, low = 0.06 * frame.shape[1], 0.07 * frame.shape[0]
    panel.plot(
        [left, left + length / frame.pixel_scale], [low, low], color="white", lw=2, solid_capstyle="butt"
    )
    panel.text(left, low + 0.03 * frame.shape[0], f'{length:g}"', color="white", fontsize=8, va="bottom")
