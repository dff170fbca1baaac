"""Draw scenes from a prior alone: what it holds for likely before it has seen any data.

The sampler integrates from white noise to a normalised scene (`synergy.sampling.reverse`). A prior knows
scenes only up to their flux scale (`synergy.priors.scale`), so a scene in nJy is the product of the two. The
scale is given, or drawn from the training scenes' own, of which a prior's card may keep the quantiles
(``scale_quantiles``, nJy/pixel, at equal steps of probability from 0 to 1); it is drawn independently of
the scene. Where neither is known it is 1, and the result says so.

Scenes come in batches of a size that depends on that of a scene only, each batch with its own key. So the
memory for drawing is bounded, and the same seed gives the same scenes however many are asked for, and
however often the drawing was interrupted.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from synergy.drawn_scenes import DrawnScenes
from synergy.errors import InputError
from synergy.priors.diffusion import DiffusionPrior
from synergy.provenance import code
from synergy.sampling.reverse import sample

_BATCH_PIXELS = 4 * 128**2
_KNOWN = "drawn from those of the training scenes"
_UNKNOWN = "1 nJy/pixel for all scenes, because the prior's card does not know those of its training scenes"


@dataclasses.dataclass(frozen=True)
class DrawSettings:
    """Which scenes are drawn.

    Parameters
    ----------
    size
        Side of the scenes, pixels.
    seed
        Random seed.
    steps
        Denoiser evaluations per scene.
    scale
        Flux scale in nJy/pixel; None draws it from the training scenes' own, where the card knows them.
    """

    size: int = 128
    seed: int = 0
    steps: int = 48
    scale: float | None = None

    @property
    def batch(self) -> int:
        """Number of scenes drawn side by side."""
        return max(1, _BATCH_PIXELS // self.size**2)


def draw_scenes(
    prior: DiffusionPrior,
    number: int,
    settings: DrawSettings,
    begun: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[Float[np.ndarray, "draw band y x"]]:
    """Yield scenes in normalised units, a batch at a time.

    Parameters
    ----------
    prior
        The prior.
    number
        Number of scenes in all.
    settings
        Which.
    begun
        Scenes that are there already; they are not drawn again.
    progress
        Called as ``progress(done, total, label)``.

    Raises
    ------
    FloatingPointError
        If a scene diverges.
    """
    batch, key = settings.batch, jax.random.key(settings.seed)
    shape = (batch, len(prior.bands), settings.size, settings.size)
    grid = prior.schedule.grid(settings.steps)
    for first in range(begun // batch * batch, number, batch):

        def report(step: int, steps: int, first: int = first) -> None:
            if progress is not None:
                last = min(first + batch, number)
                done = first + (last - first) * step / steps
                progress(int(1000 * done), 1000 * number, f"scenes {first + 1} to {last}")

        made = np.asarray(sample(prior, jax.random.fold_in(key, first // batch), shape, grid, report))
        if not np.isfinite(made).all():
            raise FloatingPointError(f"scenes {first + 1} to {first + batch} diverged; try more --steps")
        yield made[max(begun - first, 0) : number - first]


def draw_scales(
    settings: DrawSettings, number: int, quantiles: Sequence[float] | None
) -> Float[np.ndarray, " draw"]:
    """Return the flux scale of each scene in nJy/pixel.

    Parameters
    ----------
    settings
        Which scenes.
    number
        Number of scenes.
    quantiles
        Quantiles of the training scenes' scales, where they are known.
    """
    if settings.scale is not None or quantiles is None:
        return np.full(number, settings.scale or 1.0)
    level = np.random.default_rng([settings.seed, 1]).random(number)
    return np.exp(np.interp(level, np.linspace(0.0, 1.0, len(quantiles)), np.log(quantiles)))


def draw_to_file(
    prior: DiffusionPrior,
    card: dict[str, Any],
    number: int,
    settings: DrawSettings,
    path: Path,
    resume: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[DrawnScenes | None, bool]:
    """Draw scenes and write them; those drawn before an interruption are written, too.

    Parameters
    ----------
    prior, card
        The prior and its card.
    number
        Number of scenes.
    settings
        Which.
    path
        FITS file to write.
    resume
        Keep the scenes that the file holds already.
    progress
        Called as ``progress(done, total, label)``.

    Returns
    -------
    drawn
        What was written; None where an interruption left nothing to write.
    finished
        False after an interruption.

    Raises
    ------
    InputError
        If the scale is no brightness, or the scenes of the file were drawn otherwise.
    FloatingPointError
        If a scene diverges.
    """
    if settings.scale is not None and not 0 < settings.scale < np.inf:
        raise InputError("--scale", f"{settings.scale}", "a positive number of nJy/pixel", "Correct it.")
    batches: list[Float[np.ndarray, "draw band y x"]] = []
    if resume and path.exists():
        begun = DrawnScenes.read(path)
        _check_begun(begun, prior, settings, path)
        batches.append(begun.normalised)
    finished = False
    try:
        for batch in draw_scenes(prior, number, settings, sum(map(len, batches)), progress):
            batches.append(batch)
        finished = True
    except KeyboardInterrupt:
        if not batches:
            return None, finished
    normalised = np.concatenate(batches)
    scale = draw_scales(settings, len(normalised), card.get("scale_quantiles"))
    band_scale = np.asarray(prior.band_scale, np.float64)
    unit = (scale[:, None] * band_scale).astype(np.float32)[:, :, None, None]
    meta = {**code(), "prior": prior.id, **dataclasses.asdict(settings)}
    if settings.scale is None:
        meta["scales"] = _KNOWN if "scale_quantiles" in card else _UNKNOWN
    else:
        meta["scales"] = f"{settings.scale:.4g} nJy/pixel for all scenes"
    drawn = DrawnScenes(normalised * unit, scale, prior.bands, band_scale, prior.pixel_scale, meta)
    drawn.write(path)
    return drawn, finished


def _check_begun(begun: DrawnScenes, prior: DiffusionPrior, settings: DrawSettings, path: Path) -> None:
    """Complain unless scenes were drawn from this prior with these settings."""
    wanted = {"prior": prior.id, **dataclasses.asdict(settings)}
    other = {key: begun.meta.get(key) for key, value in wanted.items() if begun.meta.get(key) != value}
    if other:
        raise InputError(
            path,
            ", ".join(f"{key} {value}" for key, value in other.items()),
            ", ".join(f"{key} {wanted[key]}" for key in other),
            "Give the options it was begun with, or leave --resume out.",
        )
