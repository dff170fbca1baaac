"""The demonstration: a made-up patch of sky, observed, reconstructed and compared with the truth.

`run` writes ``posterior.fits`` and ``posterior.png`` (the result), ``truth.fits``, ``observations.fits``
with the manifest ``observations.yaml`` (so that ``synergy reconstruct observations.yaml`` repeats it),
``comparison.png`` (beside simpler methods) and ``comparison.ecsv`` (the numbers).
"""

from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np
import rich.table
from astropy.coordinates import SkyCoord
from astropy.table import Table
from jaxtyping import Float
from rich.box import SIMPLE_HEAD

from data_prep.demo_scene import make_scene
from data_prep.exposures import observe
from data_prep.psfs import effective_psf
from data_prep.render import image_frame, render_image, render_truth
from synergy.baselines.upsample import upsample
from synergy.baselines.wiener import wiener
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import replacing
from synergy.io.export import write_observations, write_truth
from synergy.metrics.calibration import coverage
from synergy.metrics.image import nmse
from synergy.metrics.photometry import total_flux_error
from synergy.observation import Observation
from synergy.plot import plot_posterior
from synergy.plot_transfer import plot_transfer
from synergy.posterior import Posterior
from synergy.priors.diffusion import load_prior
from synergy.reconstruct import reconstruct
from synergy.sampling.transfer import effective_transfer
from synergy.survey import SCENE_BANDS, get_band

SIZE, PIXEL_SCALE = 128, 0.05


def make_demo(seed: int = 0) -> tuple[Float[np.ndarray, "band y x"], Frame, list[Observation]]:
    """Make the demonstration's truth and its observations at survey depth.

    Parameters
    ----------
    seed
        Decides details of the spiral, the dithers and the noise.

    Returns
    -------
    truth
        The scene in nJy/pixel.
    frame
        Its frame, 6.4" on a side.
    observations
        Ten images: LSST ugrizy (ten years), Euclid VIS and NISP (Wide Survey), each at its native pixel
        scale with its own sub-pixel offset.
    """
    rng = np.random.default_rng(seed)
    sources = make_scene(rng)
    frame = Frame.tangent(SkyCoord(269.73 * u.deg, 66.02 * u.deg), (SIZE, SIZE), PIXEL_SCALE)
    truth = render_truth(sources, frame, SCENE_BANDS)
    observations = []
    for band in SCENE_BANDS:
        scale = get_band(band).pixel_scale
        side = round(SIZE * PIXEL_SCALE / scale + 0.2)
        dither = rng.uniform(-0.5, 0.5, 2)
        grid = image_frame(frame, (side, side), scale, (float(dither[0]), float(dither[1])))
        psf = effective_psf(band)
        observations.append(observe(render_image(sources, frame, grid, psf), grid, psf, rng))
    return truth, frame, observations


def compare(
    posterior: Posterior,
    estimates: dict[str, Float[np.ndarray, "band y x"]],
    truth: Float[np.ndarray, "band y x"],
) -> Table:
    """Return one row per band: errors of the posterior mean beside other estimates, fit and calibration.

    Parameters
    ----------
    posterior
        The reconstruction, of at least two draws; one image of each band, in the bands' order.
    estimates
        Name -> another estimate of the scene.
    truth
        The true scene.

    Returns
    -------
    Table
        ``nmse`` (normalised mean squared error) and ``flux_error`` (relative error of the total flux) of
        the posterior mean, and of each estimate with its name appended; ``chi2`` per pixel of the band's
        image, median over the draws; ``inside_68`` and ``inside_95``, the fraction of true pixels within
        the credible intervals.
    """
    table = Table({"band": list(posterior.bands)})
    scenes = {"": posterior.mean, **{f"_{name}": scene for name, scene in estimates.items()}}
    for score, function in (("nmse", nmse), ("flux_error", total_flux_error)):
        for name, scene in scenes.items():
            table[score + name] = function(scene, truth)
    table["chi2"] = posterior.chi2_per_pixel
    table["inside_68"], table["inside_95"] = coverage(posterior.draws, truth)
    for name in table.colnames[1:]:
        table[name].info.format = ".4f"
    return table


def run(
    out: Path,
    draws: int = 16,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    name: str | Path = "default",
) -> rich.table.Table:
    """Make the demonstration, reconstruct it with a prior, and write everything.

    Parameters
    ----------
    out
        Directory, made if need be; files of the same names are replaced.
    draws
        Number of posterior draws, at least two.
    seed
        Of the scene, its noise and the draws.
    progress
        Called as ``progress(done, total, label)``.
    name
        Of the prior (see `synergy.load_prior`).

    Returns
    -------
    rich.table.Table
        The comparison, to print.

    Raises
    ------
    InputError
        If there are fewer than two draws, `out` is a file, or there is no such prior.
    """
    if draws < 2:
        raise InputError("draws", str(draws), "at least 2", "One draw has no error bars to compare.")
    if out.exists() and not out.is_dir():
        raise InputError(out, "a file", "a directory, or nothing", "Choose another name.")
    prior = load_prior(name)
    truth, frame, observations = make_demo(seed)
    posterior = reconstruct(observations, prior, seed, draws, frame=frame, progress=progress)
    estimates = {
        "upsampled": upsample(observations, frame, SCENE_BANDS),
        "wiener": wiener(observations, frame, SCENE_BANDS).scene,
    }
    table = compare(posterior, estimates, truth)
    out.mkdir(parents=True, exist_ok=True)
    posterior.write(out / "posterior.fits")
    plot_posterior(posterior, observations, out / "posterior.png")
    transfer = effective_transfer(observations, prior, frame, posterior.meta["scale"])
    plot_transfer(transfer, out / "transfer.png")
    write_truth(truth, frame, SCENE_BANDS, out / "truth.fits")
    write_observations(observations, out / "observations.fits")
    scenes = {"posterior mean": posterior.mean, "one draw": posterior.draws[0], "truth": truth}
    plot_comparison(estimates | scenes, out / "comparison.png")
    with replacing(out / "comparison.ecsv") as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    return printable(table)


def printable(table: Table) -> rich.table.Table:
    """Return a comparison for the terminal, 80 columns wide."""
    printed = rich.table.Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    printed.title = "Errors of the posterior mean, of a joint Wiener solution and of the upsampled image"
    columns = [("band", "\nband", "{}")]
    for score, label, form in (("nmse", "NMSE", "{:.4f}"), ("flux_error", "flux", "{:+.1%}")):
        for name, short in (("", "mean"), ("_wiener", "Wiener"), ("_upsampled", "image")):
            columns.append((score + name, f"{label}\n{short}", form))
    columns += [("chi2", "chi2\n/pixel", "{:.2f}")]
    columns += [(f"inside_{level}", f"in\n{level}%", "{:.0%}") for level in (68, 95)]
    for _, label, _ in columns:
        printed.add_column(label, justify="right", no_wrap=True)
    for row in table:
        printed.add_row(*(form.format(row[name]) for name, _, form in columns))
    return printed


def plot_comparison(scenes: dict[str, Float[np.ndarray, "band y x"]], path: Path) -> None:
    """Draw scenes side by side, as colour composites (LSST z, r, g) above VIS alone, all with one stretch.

    Parameters
    ----------
    scenes
        Title -> scene in nJy/pixel; the last one sets the stretch.
    path
        PNG file to write.
    """
    from astropy.visualization import make_lupton_rgb
    from matplotlib.figure import Figure

    red, green, blue, sharp = (SCENE_BANDS.index(b) for b in ("lsst.z", "lsst.r", "lsst.g", "euclid.vis"))
    reference = list(scenes.values())[-1]
    colours = np.array([0.8, 1.3, 2.3])[:, None, None] / np.percentile(reference[green], 99.5)
    faint = np.percentile(reference[sharp], 80)
    figure = Figure(figsize=(2.6 * len(scenes), 5.5), layout="constrained")
    panels = figure.subplots(2, len(scenes))
    for (title, scene), (colour, grey) in zip(scenes.items(), panels.T, strict=True):
        colour.imshow(
            make_lupton_rgb(*(scene[[red, green, blue]] * colours), stretch=0.4, Q=6), origin="lower"
        )
        grey.imshow(np.arcsinh(scene[sharp] / faint), origin="lower", cmap="gray", vmin=-1,
                    vmax=np.arcsinh(reference[sharp].max() / faint))  # fmt: skip
        colour.set_title(title.replace("wiener", "joint Wiener"))
        for panel in (colour, grey):
            panel.set(xticks=[], yticks=[])
    for panel, label in zip(panels[:, 0], ("LSST z, r, g", "Euclid VIS"), strict=True):
        panel.set_ylabel(label)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
