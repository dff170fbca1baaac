"""Statistics of sets of scenes, memorisation and denoisers level by level, where the answers are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

pytest.importorskip("sep")

from synergy.metrics.denoising import agreement, light_kept
from synergy.metrics.memorisation import galaxy_vector, nearest
from synergy.metrics.scenes import scene_statistics


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shrink:
    """Denoiser that multiplies by a factor and adds an offset."""

    factor: Array
    offset: Array

    def __call__(self, noisy, sigma):
        """Return ``factor x + offset``."""
        return self.factor * noisy + self.offset


def shrink(factor: float, offset: float = 0.0) -> Shrink:
    return Shrink(jnp.float32(factor), jnp.float32(offset))


def discs(count: int, seed: int) -> np.ndarray:
    """Return scenes in two bands with one lopsided, inclined disc each, the second band more extended."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((96, 96))
    scenes = np.empty((count, 2, 96, 96), np.float32)
    for scene in scenes:
        dy, dx = y - rng.uniform(40, 56), x - rng.uniform(40, 56)
        angle, axis, size = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0), rng.uniform(2.0, 5.0)
        u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / axis
        lopsided = 1 + 0.5 * np.tanh(u / size)
        scene[:] = [lopsided * np.exp(-np.hypot(u, v) / (size * f)) for f in (1.0, 1.3)]
    return scenes


def test_light_kept_is_the_denoiser_s_factor():
    clean = np.random.default_rng(0).uniform(0, 2, (12, 2, 32, 32)).astype(np.float32)
    table = light_kept(shrink(0.8), clean, (0.01, 1.0), jax.random.key(0), batch=5)
    np.testing.assert_allclose(table[:, 0], 0.8, atol=0.02)
    # Noise of 1 on 2048 pixels and 12 scenes of mean 1.
    assert table[1, 1] == pytest.approx(0.8 / np.sqrt(2048 * 12), rel=0.5)


def test_same_denoiser_agrees_and_opposite_errors_do_not():
    clean = np.random.default_rng(1).uniform(0, 1, (6, 2, 16, 16)).astype(np.float32)
    (same,) = agreement((shrink(0.5), shrink(0.5)), clean, (0.3,), jax.random.key(0))
    assert (same.cosine, same.disagreement) == (pytest.approx(1.0, abs=1e-5), 0.0)
    # Without noise: D1 = x + a, D2 = x - a: corrections opposite, (2a)^2 / (a^2 + a^2) = 2.
    (far,) = agreement((shrink(1.0, 0.1), shrink(1.0, -0.1)), clean, (1e-6,), jax.random.key(0))
    assert far.cosine_of_corrections == pytest.approx(-1.0, abs=1e-3)
    assert far.disagreement == pytest.approx(2.0, abs=1e-3)
    assert far.cosine > 0.9


def test_statistics_know_empty_scenes_and_cut_galaxies():
    scenes = np.float32(5.0) * discs(4, 0)
    scenes[1] = 1e-4  # empty
    scenes[2] = np.roll(scenes[2], 48, axis=1)  # cut by the edge
    table = scene_statistics(scenes, ("lsst.g", "lsst.i"), 0.05, ("lsst.g", "lsst.i"))
    for name in ("size", "concentration", "asymmetry", "ellipticity", "colour gradient"):
        assert list(np.isfinite(table[name])) == [True, False, False, True], name
    assert table["scale"][1] < -3
    assert np.isfinite(table["lit area"][2])
    # The red band is more extended: redder outside.
    assert np.all(table["colour gradient"][[0, 3]] < 0)


def test_statistics_do_not_depend_on_the_scale():
    scenes = np.float32(5.0) * discs(3, 5)
    bands = ("lsst.g", "lsst.i")
    one, other = (scene_statistics(f * scenes, bands, 0.05, bands) for f in (1.0, np.float32(3.0)))
    np.testing.assert_allclose(other["scale"] - one["scale"], np.log10(3), rtol=1e-3)
    for name in one.keys() - {"scale"}:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-2, atol=1e-3, err_msg=name)


def test_a_copy_is_found_moved_turned_and_dimmed():
    train, new = discs(30, 1), discs(8, 2)
    copies = 0.3 * np.rot90(np.roll(train[:8], (7, -5), axis=(2, 3)), 1, axes=(2, 3))[..., ::-1]
    vectors = [galaxy_vector(s, 0.05) for s in train]
    batches = [np.stack(vectors[:11]), np.stack(vectors[11:])]
    near, which = nearest(np.stack([galaxy_vector(s, 0.05) for s in copies]), batches)
    far, _ = nearest(np.stack([galaxy_vector(s, 0.05) for s in new]), batches)
    np.testing.assert_array_equal(which, np.arange(8))
    assert near.max() < 1e-2
    assert far.min() > 3 * near.max()
    assert galaxy_vector(np.zeros((2, 96, 96), np.float32), 0.05) is None
