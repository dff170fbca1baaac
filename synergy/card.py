"""The model card of a trained prior: trained on what, how far, how well, what it draws, where it ends.

Written beside the prior's arrays as ``README.md`` with pictures: the loss curve, the held-out errors, and
scenes drawn from the prior alone. Everything comes from the run's own files: what the prior is not good for
are the `limits` of its settings, and of runs that began from another prior's weights the whole chain is told.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from synergy.generation import DrawSettings, draw_scenes
from synergy.io.atomic import write_bytes
from synergy.plot import choose_rgb
from synergy.plot_scenes import plot_scenes
from synergy.priors.diffusion import DiffusionPrior, load_prior, read_card
from synergy.training.plots import draw_run

_ORIGINS = {
    "eagle": "images of the EAGLE simulation (SKIRT; Schaye et al. 2015, Crain et al. 2015, McAlpine et al. "
    "2016, Trayford et al. 2017)",
    "tng": "images of IllustrisTNG (Nelson et al. 2019; SKIRT: Rodriguez-Gomez et al. 2019)",
    "skirt": "images made with SKIRT (Camps & Baes 2020)",
    "hst": "galaxies observed with HST",
    "procedural": "painted discs, ellipticals and irregulars",
}


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
    side = int(card["training"]["config"]["crop"])
    scenes = np.concatenate(list(draw_scenes(prior, draws, DrawSettings(side, steps=steps))))
    draw_run(run, folder)
    plot_scenes(scenes, prior.bands, prior.pixel_scale, folder / "samples.png", columns=6)
    path = folder / "README.md"
    write_bytes(path, _text(prior, card).encode())
    return path


def _text(prior: DiffusionPrior, card: dict[str, Any]) -> str:
    training, validation = card["training"], card["validation"]
    weights = sum(v.size for group in prior.params.values() for v in group.values())
    config = dict(training["config"])
    limits = "\n".join(f"- {sentence}" for sentence in config.pop("limits")) or "None were stated."
    shown = ", ".join(choose_rgb(prior.bands))
    return f"""# Prior `{card["name"]}`

A diffusion prior of scenes in {len(prior.bands)} bands ({", ".join(prior.bands)}) at {prior.pixel_scale}
arcsec per pixel, in units of each scene's flux scale. {weights / 1e6:.2f} million weights;
`{prior.id.split(":")[1]}`.

## Training

{_history(training)}
- **Split**: by galaxy lineage, all snapshots of one galaxy together; validation scenes hold galaxies never
  trained on.
- **Crops**: {config["crop"]} pixels; {training["crops_per_second"]:.3g} per second,
  {training["crops_per_core_second"]:.3g} per core and second, on {training["devices"]}
  ({training["machine"]}), validations and checkpoints included.
- **Weights**: averaged over the run with exponent {training["average_exponent"]:g}, which had the lowest
  held-out error of {", ".join(f"{gamma:g}" for gamma in config["average_exponents"])}.

![Loss](loss.png)

{_errors(validation)}

## What it draws

Scenes drawn from the prior alone, {shown} as red, green and blue:

![Samples](samples.png)

## Limits

{limits}

## Settings

```json
{json.dumps(config, indent=2)}
```
"""


def _history(training: dict[str, Any]) -> str:
    """Return a table of the run and of those it began from, the oldest first, and their data."""
    runs = [*training["ancestors"], training]
    names = ("began from", "scenes", "steps", "batch", "core-hours", "hours")
    lines = [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for before, run in zip([None, *runs], runs, strict=False):
        # Cards of before runs had ancestors name the last one only.
        named = run.get("began_from") if before is None else before["id"]
        origin = f"`{named}`" if named else "random weights"
        lines.append(
            f"| {origin} | {run['scenes']} | {run['steps']} | {run['config']['batch']} | "
            f"{run['core_hours']:.2f} | {run['hours']:.2f} |"
        )
    if len(runs) > 1:
        lines.append(
            f"| together | | {sum(run['steps'] for run in runs)} | | "
            f"{sum(run['core_hours'] for run in runs):.2f} | {sum(run['hours'] for run in runs):.2f} |"
        )
    data = list(dict.fromkeys(_data(run) for run in runs if "data" in run))
    return "\n".join([*lines, "", *(f"- **Data**: {text}" for text in data)])


def _data(run: dict[str, Any]) -> str:
    """Describe the scenes of a run by what their shards say."""
    data = run["data"]
    if "config" not in data:
        return f"{run['scenes']} scenes whose files do not say how they were made."
    sources = data["config"].get("sources", [])
    total = sum(source["weight"] for source in sources)
    kinds = "; ".join(
        f"{source['weight'] / total:.0%} {_ORIGINS.get(source['kind'], source['kind'])}" for source in sources
    )
    return (
        f"{run['scenes']} scenes of `synergy mock` with the configuration `{data['name']}` "
        f"({data['config_hash']}, synergy {data['version']}). Galaxies: {kinds}."
    )


def _errors(validation: dict[str, int | float]) -> str:
    if not validation:
        return "The run was not validated."
    sigmas = [key.removeprefix("error_") for key in validation if key.startswith("error_")]
    rows = [
        f"| {sigma} | {validation[f'error_{sigma}']:.3g} | {validation[f'ratio_{sigma}']:.3g} |"
        for sigma in sigmas
    ]
    return "\n".join(
        [
            f"Held-out denoising error at step {validation['step']} in units of sigma squared (1 = no noise",
            "removed), and as a ratio to that of the best linear denoiser of a Gaussian field with the same",
            f"spectra and colours (geometric mean: {validation['mean_ratio']:.3g}):",
            "",
            "| sigma | error | ratio |",
            "| --- | --- | --- |",
            *rows,
            "",
            "![Held-out error](validation.png)",
        ]
    )
