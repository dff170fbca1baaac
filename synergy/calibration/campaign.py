"""Reconstruct many scenes whose truth is known, and keep what calibration asks of them.

Of each pair the truth and all draws are summarised by the same numbers (`synergy.metrics.summaries`), around
the place where the data are most significant: chosen from the truth or the draws, it would favour one of
them. With ``truths: prior`` the true scene is itself a draw of the prior, as bright as the mock's, and seen
by the mock's instruments with their noise, so that a failure is the sampler's.

Each pair is a file of its own, named after all that it depends on: a campaign that was cut goes on where it
was, and one that grows keeps what it has.
"""

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from synergy.calibration.settings import CalibrationSettings
from synergy.errors import InputError
from synergy.frame import Frame
from synergy.io.atomic import write_bytes
from synergy.io.pairs import Pair, PairShards
from synergy.likelihood import GaussianLikelihood
from synergy.metrics.hallucination import false_structures
from synergy.metrics.summaries import summaries
from synergy.observation import Observation
from synergy.priors.diffusion import DiffusionPrior, load_prior
from synergy.priors.scale import scene_scale
from synergy.reconstruct import reconstruct
from synergy.sampling.amplitude import Smoothed
from synergy.sampling.reverse import sample

PRIOR_STEPS = 64
"""Denoiser evaluations for a truth drawn from the prior."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What is kept of a pair.

    Parameters
    ----------
    id
        Name of the pair.
    names
        Of the summaries.
    truth, draws
        Their values.
    snr
        Significance of the brightest smoothed peak.
    chi2
        Chi-squared per pixel over all images, median over draws.
    false_rate, false_expected
        False structures per arcsec^2 of the posterior mean, and of held-out draws (`false_structures`).
    redone
        Draws that diverged and were made again.
    seconds
        Time of the reconstruction.
    """

    id: str
    names: tuple[str, ...]
    truth: Float[np.ndarray, " summary"]
    draws: Float[np.ndarray, "draw summary"]
    snr: float
    chi2: float
    false_rate: Float[np.ndarray, "scale band"]
    false_expected: Float[np.ndarray, "scale band"]
    redone: int
    seconds: float

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        held = io.BytesIO()
        np.savez(held, **dataclasses.asdict(self))
        write_bytes(path, held.getvalue())

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """Read a file.

        Raises
        ------
        InputError
            If it is damaged.
        """
        try:
            with np.load(path) as held:
                values = {name: held[name] for name in (f.name for f in dataclasses.fields(cls))}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(
                path, str(error), "an outcome of a campaign", "Delete it and run again."
            ) from error
        scalars = {name: values[name].item() for name in ("id", "snr", "chi2", "redone", "seconds")}
        return cls(**values | scalars | {"names": tuple(values["names"].tolist())})


def run(
    settings: CalibrationSettings,
    mocks: Path,
    out: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Outcome]:
    """Reconstruct all pairs that are missing.

    Parameters
    ----------
    settings
        The campaign.
    mocks
        Directory of shards of pairs.
    out
        Directory of the campaign.
    progress
        Called as ``progress(done, total, label)``.

    Raises
    ------
    InputError
        If mocks are missing or fewer than asked for, or an outcome is damaged.
    """
    pairs, prior = PairShards.open(mocks, settings.split), load_prior(settings.prior)
    if len(pairs) < settings.pairs:
        raise InputError(
            mocks,
            f"{len(pairs)} pairs of the {settings.split} split",
            f"at least {settings.pairs}",
            "Ask for fewer pairs, or make more: synergy mock.",
        )
    folder = out / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    return list(_outcomes(settings, pairs, prior, folder, progress))


def _outcomes(
    settings: CalibrationSettings,
    pairs: PairShards,
    prior: DiffusionPrior,
    folder: Path,
    progress: Callable[[int, int, str], None] | None,
) -> Iterator[Outcome]:
    of_draws = settings.model_dump_json(exclude={"name", "pairs", "prior", "snr_edges", "levels"})
    for index in range(settings.pairs):
        if progress is not None:
            progress(index, settings.pairs, f"pair {index + 1} of {settings.pairs}")
        pair = pairs[index]
        tag = hashlib.sha256(f"{prior.id} {pair.id} {pair.seed} {index} {of_draws}".encode()).hexdigest()[:20]
        path = folder / f"{tag}.npz"
        if not path.exists():
            measure(pair, prior, settings, index).write(path)
        yield Outcome.read(path)
    if progress is not None:
        progress(settings.pairs, settings.pairs, f"{settings.pairs} pairs")


def measure(pair: Pair, prior: DiffusionPrior, settings: CalibrationSettings, index: int) -> Outcome:
    """Reconstruct one pair and summarise truth and draws.

    Parameters
    ----------
    pair
        The pair.
    prior
        The prior.
    settings
        The campaign.
    index
        Number of the pair, from which random numbers follow.
    """
    margin, key = settings.margin, jax.random.fold_in(jax.random.key(settings.seed), index)
    key_truth, key_draws = jax.random.split(key)
    frame = enlarged(pair.frame, margin)
    inner = np.s_[..., margin : frame.shape[0] - margin, margin : frame.shape[1] - margin]
    observations, truth = list(pair.observations), pair.truth
    if settings.truths == "prior":
        whole, observations = draw_truth(pair, prior, frame, key_truth)
        truth = whole[inner]
    position, snr = most_significant(observations, pair.frame)
    started = time.perf_counter()
    posterior = reconstruct(observations, prior, key_draws, settings.draws, settings.sampler.settings, frame)
    seconds = time.perf_counter() - started
    scale = pair.frame.pixel_scale
    tables = [
        summaries(
            np.asarray(scenes, np.float64), prior.bands, scale, position[None], settings.radii,
            softening=settings.softening,
        )
        for scenes in (truth, posterior.draws[inner])
    ]  # fmt: skip
    false = false_structures(posterior.draws[inner], truth, scale)
    return Outcome(
        id=pair.id,
        names=tables[0].names,
        truth=tables[0].values,
        draws=tables[1].values,
        snr=snr,
        chi2=float(np.median(posterior.chi2.sum(axis=1)) / posterior.n_pixels.sum()),
        false_rate=false.rate,
        false_expected=false.expected,
        redone=int(posterior.meta["redone"]),
        seconds=seconds,
    )


def draw_truth(
    pair: Pair, prior: DiffusionPrior, frame: Frame, key: jax.Array
) -> tuple[Float[np.ndarray, "band y x"], list[Observation]]:
    """Draw a scene of the prior, as bright as the pair's truth, and observe it as the pair's was.

    Parameters
    ----------
    pair
        The pair whose instruments and brightness are used.
    prior
        The prior.
    frame
        Frame of the scene to draw.
    key
        Random key.
    """
    key_scene, key_noise = jax.random.split(key)
    shape = (1, len(prior.bands), *frame.shape)
    unit_scene = sample(prior, key_scene, shape, prior.schedule.grid(PRIOR_STEPS))[0]
    scale = scene_scale(jnp.asarray(pair.truth, jnp.float32), prior.band_scale, prior.pixel_scale)
    scale = jnp.maximum(scale, prior.scale_floor)
    scene = unit_scene * (scale * prior.band_scale)[:, None, None]
    likelihood = GaussianLikelihood.build(pair.observations, frame, prior.bands)
    keys = jax.random.split(key_noise, len(pair.observations))
    images = [
        np.asarray(image + noise.draw(k), np.float64)
        for image, noise, k in zip(likelihood.forward(scene), likelihood.noises, keys, strict=True)
    ]
    observed = [
        dataclasses.replace(o, image=image) for o, image in zip(pair.observations, images, strict=True)
    ]
    return np.asarray(scene), observed


def most_significant(observations: list[Observation], frame: Frame) -> tuple[Float[np.ndarray, " 2"], float]:
    """Return the scene pixel ``(y, x)`` where smoothed data are most significant, and the significance.

    Parameters
    ----------
    observations
        The images.
    frame
        Frame of the scene; pixels beyond its edge do not count. Where there is none, its middle.
    """
    best, place = 0.0, (np.array(frame.shape) - 1.0) / 2.0
    for observation in observations:
        smoothed = Smoothed.of(observation)
        y, x = np.indices(observation.frame.shape)
        sky = observation.frame.wcs.pixel_to_world(x, y)
        on_scene = np.stack(frame.wcs.world_to_pixel(sky)[::-1], axis=-1)
        inside = np.all((on_scene >= 0) & (on_scene <= np.array(frame.shape) - 1), axis=-1)
        significance = np.where(
            smoothed.usable & inside, smoothed.flux / np.maximum(smoothed.error, 1e-30), -np.inf
        )
        peak = np.unravel_index(np.argmax(significance), significance.shape)
        if significance[peak] > best:
            best, place = float(significance[peak]), on_scene[peak]
    return place, best


def enlarged(frame: Frame, margin: int) -> Frame:
    """Return a frame with a margin.

    Parameters
    ----------
    frame
        A frame.
    margin
        Pixels on each side.
    """
    wcs = frame.wcs.deepcopy()
    wcs.wcs.crpix = wcs.wcs.crpix + margin
    return Frame((frame.shape[0] + 2 * margin, frame.shape[1] + 2 * margin), wcs)
