"""The model card of a trained prior: trained on what, how far, how well, what it draws, where it ends.

Written beside the prior's arrays as ``README.md`` with two pictures: the loss curve with the held-out
errors, and scenes drawn from the prior alone. Every number comes from the run's own files.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from synergy.io.atomic import replacing, write_bytes
from synergy.io.training_log import read_rows
from synergy.priors.diffusion import DiffusionPrior, load_prior, read_card
from synergy.sampling.reverse import sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LIMITS = """\
- Morphologies are those of one simulation seen face-on and sheared to imitate inclination, plus smooth
bulge-and-disc
  galaxies; there are no dust lanes seen edge-on, no mergers in progress, no lenses, no saturated stars.
- Colours were drawn from real galaxies with magnitudes of about 20 to 25 and vary within a galaxy along one
sequence.
- Scenes hold one to several galaxies down to F814W = 27, stars are rare. Crowded fields are outside of the
training set.
- Bands that no image saw are filled in from colours alone. `observed` in the result says which.
- The posterior is only as honest as prior, PSFs and noise models; calibration on held-out mocks is not
stated here.
"""


def write_model_card(run: Path, draws: int = 12, steps: int = 48) -> Path:
    """Write the card of a training run's prior.

    Parameters
    ----------
    run
        Run directory of `synergy.train.train`.
    draws, steps
        How many scenes to draw for the picture, and the sampler's steps.

    Returns
    -------
    Path
        The card, ``run/prior/README.md``.
    """
    folder = run / "prior"
    prior, card = load_prior(folder), read_card(folder)
    rows = read_rows(run / "log.csv")
    side = int(card["training"]["config"]["crop"])
    shape = (draws, len(prior.bands), side, side)
    scenes = np.asarray(sample(prior, jax.random.key(0), shape, prior.schedule.grid(steps)))
    _save(_loss_figure(rows), folder / "loss.png")
    _save(
        _samples_figure(scenes * np.asarray(prior.band_scale)[:, None, None], prior), folder / "samples.png"
    )
    path = folder / "README.md"
    write_bytes(path, _text(prior, card, rows).encode())
    return path


def _text(prior: DiffusionPrior, card: dict, rows: list[dict[str, str]]) -> str:
    training = card["training"]
    weights = sum(v.size for group in prior.params.values() for v in group.values())
    # Runs may be stopped between two validations: the last one that was made counts.
    names = [key for key in rows[0] if key.startswith("error_")]
    last = next((row for row in reversed(rows) if all(row[key] for key in names)), None)
    errors = (
        "".join(f"| {k.removeprefix('error_')} | {float(last[k]):.3g} |\n" for k in names) if last else ""
    )
    measured = f" at step {last['step']}" if last else ""
    settings = json.dumps(training["config"], indent=2)
    origin = training.get("began_from")
    began = f", after those of prior `{origin}`, from whose weights the run began" if origin else ""
    return f"""# Prior `{card["name"]}`

A diffusion prior of scenes in {len(prior.bands)} bands ({", ".join(prior.bands)}) at {prior.pixel_scale}
arcsec per pixel, in units of each scene's flux scale. {weights / 1e6:.2f} million weights;
`{prior.id.split(":")[1]}`.

## Training

- **Data**: {training["scenes"]} scenes made by `synergy mock configs/mock/scenes.yaml`:
  galaxy images of the EAGLE simulation (SKIRT; Schaye et al. 2015, Crain et al. 2015, McAlpine et al. 2016,
  Trayford et al. 2017), colours of galaxies observed with HST (F606W, F814W, F125W), sizes, magnitudes and
  redshifts of the COSMOS catalogue (GalSim).
- **Split**: by galaxy lineage, all snapshots of one galaxy together; validation scenes hold galaxies never
  trained on.
- **Steps**: {training["steps"]} of batch {training["config"]["batch"]}, crops of
  {training["config"]["crop"]} pixels; {training["core_hours"]:.2f} core-hours
  ({training["hours"]:.2f} hours) on {training["devices"]}{began}.

![Loss and held-out error](loss.png)

Held-out denoising error{measured} in units of sigma squared (1 = no noise removed):

| sigma | error |
| --- | --- |
{errors}
## What it draws

Scenes drawn from the prior alone, H, i and g as red, green and blue:

![Samples](samples.png)

## Limits

{_LIMITS}
## Settings

```json
{settings}
```
"""


def _loss_figure(rows: list[dict[str, str]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, loss = (np.array([float(row[key]) for row in rows]) for key in ("step", "loss"))
    left.plot(steps, loss, color="0.8", lw=0.7)
    width = max(1, len(loss) // 20)
    left.plot(
        steps,
        np.convolve(np.pad(loss, (width - 1, 0), mode="edge"), np.ones(width) / width, "valid"),
        color="C0",
    )
    left.set(xlabel="step", ylabel="training loss", yscale="log")
    for key in (k for k in rows[0] if k.startswith("error_")):
        points = [(float(row["step"]), float(row[key])) for row in rows if row[key]]
        if points:
            right.plot(*np.transpose(points), marker=".", label=key.removeprefix("error_"))
    right.set(xlabel="step", ylabel="held-out error / sigma²", yscale="log")
    right.legend(title="sigma", fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _samples_figure(scenes: Float[np.ndarray, "draw band y x"], prior: DiffusionPrior) -> "Figure":
    from astropy.visualization import make_lupton_rgb
    from matplotlib.figure import Figure

    names = ("euclid.H", "lsst.i", "lsst.g")
    chosen = [prior.bands.index(n) for n in names if n in prior.bands]
    chosen = chosen if len(chosen) == len(names) else [len(prior.bands) - 1, len(prior.bands) // 2, 0]
    colour = scenes[:, chosen] / np.asarray(prior.band_scale)[chosen, None, None]
    columns = 6
    figure = Figure(figsize=(columns * 1.8, -(-len(scenes) // columns) * 1.8), layout="constrained")
    for axes, planes in zip(figure.subplots(-(-len(scenes) // columns), columns).flat, colour, strict=False):
        axes.imshow(make_lupton_rgb(*planes, minimum=-0.01, stretch=0.2, Q=8), origin="lower")
        axes.set_axis_off()
    return figure


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
