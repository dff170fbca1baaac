"""One battery that every operator passes: linearity, adjoint and equality with a dense float64 matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from synergy import operators
from synergy.frame import Frame
from synergy.operators import Operator, adjoint, inside
from synergy.pixel_sampling import Folded, NonUniform, Separable
from synergy.psf import PSF, model_psf_transfer

CENTER = SkyCoord(150 * u.deg, 2 * u.deg)
H = 0.05
RESPONSE = np.array([0.3, 1.0, 0.0])


def frame(shape, jacobian, shift=(0.0, 0.0)):
    """Frame whose (north, east) offsets in arcsec are `jacobian` times (y, x) about its centre, displaced."""
    linear = np.array(jacobian, float)
    centre = (np.array(shape) - 1) / 2 - np.linalg.solve(linear, np.array(shift, float))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [CENTER.ra.deg, CENTER.dec.deg]
    wcs.wcs.crpix = centre[::-1] + 1
    wcs.wcs.pc = linear[::-1, ::-1] / 3600
    wcs.wcs.cdelt = [1.0, 1.0]
    return Frame(shape, wcs)


UPRIGHT = np.diag([1.0, -1.0])
ANGLE = np.radians(25.0)
TURNED = np.array([[np.cos(ANGLE), np.sin(ANGLE)], [np.sin(ANGLE), -np.cos(ANGLE)]])

# name: scene shape, image shape, d(north, east)/d(y, x) in arcsec, shift in arcsec, FWHM of the PSF in arcsec
REGISTRY = {
    "integer ratio": ((16, 16), (8, 8), 0.1 * UPRIGHT, (0, 0), 0.18),
    "odd and even, shifted": ((15, 16), (7, 6), 0.1 * UPRIGHT, (0.013, -0.021), 0.18),
    "any ratio": ((16, 15), (5, 4), 0.168 * UPRIGHT, (0.02, 0.0), 0.5),
    "same grid": ((16, 16), (16, 16), H * UPRIGHT, (0, 0), 0.15),
    "finer than the scene": ((16, 16), (20, 20), 0.03 * UPRIGHT, (0, 0), 0.2),
    "flipped x": ((16, 16), (8, 7), 0.1 * np.eye(2), (0, 0.01), 0.18),
    "flipped y": ((16, 15), (7, 8), -0.1 * np.eye(2), (0.01, 0), 0.18),
    "larger than the scene": ((16, 16), (12, 12), 0.1 * UPRIGHT, (0, 0), 0.18),
    "rotated": ((16, 16), (8, 8), 0.1 * TURNED, (0.01, 0.02), 0.18),
    "rotated, coarse": ((16, 15), (4, 5), 0.2 * TURNED, (0.0, 0.02), 0.5),
    "sheared": ((15, 16), (8, 7), 0.1 * np.array([[1.0, 0.1], [0.05, -1.1]]), (0, 0), 0.18),
    "swapped axes": ((16, 16), (8, 7), 0.1 * np.array([[0.0, 1.0], [1.0, 0.0]]), (0, 0), 0.18),
    "rotated, undersampled image": ((16, 16), (3, 4), 0.3 * TURNED, (0.0, 0.02), 0.2),
    "rotated, finer than the scene": ((16, 15), (19, 22), 0.03 * TURNED, (0.0, 0.02), 0.2),
    "undersampled stamp": ((16, 15), (8, 7), 0.1 * UPRIGHT, (0.013, -0.021), 0.16),
    "rotated, undersampled stamp": ((15, 16), (8, 8), 0.1 * TURNED, (0.01, 0.02), 0.16),
    "folded": ((16, 15), (8, 7), 0.1 * UPRIGHT, (0.01, 0.02), 0.3),
    "folded, flipped": ((15, 16), (5, 4), -0.15 * UPRIGHT, (0.0, 0.01), 0.4),
    "two PSFs": ((16, 15), (8, 7), 0.1 * UPRIGHT, (0.01, 0.0), 0.2),
    "rotated, two PSFs over the field": ((16, 16), (8, 7), 0.1 * TURNED, (0.01, 0.0), 0.2),
    "folded, two PSFs over the field": ((16, 16), (8, 7), 0.1 * UPRIGHT, (0.01, 0.0), 0.3),
    "map of positions": ((16, 16), (8, 7), 0.1 * TURNED, (0.01, 0.0), 0.2),
}


def build(name, dtype):
    scene_shape, image_shape, jacobian, shift, fwhm = REGISTRY[name]
    scene, image = frame(scene_shape, H * UPRIGHT), frame(image_shape, jacobian, shift)
    psf = PSF.gaussian(fwhm, 0.1, 7) if "stamp" in name else PSF.gaussian(fwhm, fwhm / 5, 31)
    psfs, response, maps, positions = [psf], RESPONSE[None], None, None
    if "two PSFs" in name:
        psfs = [psf, PSF.gaussian(1.3 * fwhm, fwhm / 5, 31)]
        response = np.stack([RESPONSE, RESPONSE[::-1]])
    if "over the field" in name:
        share = np.broadcast_to(np.linspace(0, 1, image_shape[1]), image_shape)
        maps = np.stack([1 - share, share])
    if name == "map of positions":
        matrix, offset = image.affine_to(scene)
        pixels = np.moveaxis(np.indices(image_shape), 0, -1).astype(float)
        positions = pixels @ matrix.T + offset + 0.02 * (pixels - 3.5) ** 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "FOLDING_PAYS", 0 if "folded" in name else np.inf)
        operator = Operator.build(scene, image, psfs, response, dtype, maps, positions)
    return operator, scene, image, psfs, positions


def arrays(operator, image, dtype):
    rng = np.random.default_rng(0)
    scene = rng.normal(size=(len(RESPONSE), *operator.scene_shape))
    return jnp.asarray(scene.astype(dtype)), jnp.asarray(rng.normal(size=image.shape).astype(dtype))


def dot_test(operator, image, dtype):
    x, y = arrays(operator, image, dtype)
    forward, backward = jax.jit(lambda op, x, y: (op(x), adjoint(op, x.shape)(y)))(operator, x, y)
    assert forward.dtype == backward.dtype == dtype
    left, right = (
        np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64))
        for a, b in ((y, forward), (backward, x))
    )
    scale = np.linalg.norm(np.asarray(y, np.float64)) * np.linalg.norm(np.asarray(forward, np.float64))
    return abs(left - right) / scale


@pytest.mark.parametrize("name", REGISTRY)
def test_adjoint_float64(name):
    with jax.enable_x64(True):
        operator, _, image, *_ = build(name, jnp.float64)
        assert dot_test(operator, image, jnp.float64) < 1e-12


@pytest.mark.parametrize("name", REGISTRY)
def test_adjoint_float32(name):
    operator, _, image, *_ = build(name, jnp.float32)
    assert dot_test(operator, image, jnp.float32) < 1e-5


def geometry(scene, image, positions):
    """Return where the pixels lie, the linear map of the PSF's axes, and the pixels' relative area."""
    pixels = np.moveaxis(np.indices(image.shape), 0, -1).astype(float)
    if positions is None:
        matrix, offset = image.affine_to(scene)
        return (pixels @ matrix.T + offset).reshape(-1, 2), matrix, 1.0
    flat = np.column_stack([pixels.reshape(-1, 2), np.ones(pixels[..., 0].size)])
    matrix = np.linalg.lstsq(flat, positions.reshape(-1, 2), rcond=None)[0][:2].T
    along = np.gradient(positions, axis=(0, 1))
    area = np.abs(np.linalg.det(np.stack(along, axis=-1))) / abs(np.linalg.det(matrix))
    return positions.reshape(-1, 2), matrix, area.reshape(-1, 1)


def dense_matrix(scene, image, psf, positions=None):
    """Write the formula out: a direct Fourier sum over the full plane, with nothing dropped."""
    places, matrix, area = geometry(scene, image, positions)
    ny, nx = scene.shape
    period = [2 * (n // 2) + 71 for n in scene.shape]  # odd, and wider than any stamp here
    ky, kx = (np.fft.fftfreq(n) for n in period)
    k = np.stack(np.meshgrid(ky, kx, indexing="ij"), axis=-1).reshape(-1, 2)
    stamp = np.moveaxis(np.indices(psf.image.shape), 0, -1).reshape(-1, 2)
    stamp = stamp - (np.array(psf.image.shape) - 1) / 2
    seen = (k @ matrix) * psf.pixel_scale / image.pixel_scale  # cycles per stamp pixel
    transfer = np.exp(-2j * np.pi * seen @ stamp.T) @ psf.image.ravel()
    transfer[np.any(np.abs(seen) > 0.5, axis=-1)] = 0
    transfer *= abs(np.linalg.det(matrix)) / model_psf_transfer(k, 1.0)
    p = np.moveaxis(np.indices((ny, nx)), 0, -1).reshape(-1, 2)
    synthesis = area * np.exp(2j * np.pi * places @ k.T)
    analysis = np.exp(-2j * np.pi * k @ p.T)
    return (synthesis @ (transfer[:, None] * analysis)).real / np.prod(period)


def dense_integral(scene, image, psf):
    """Integrate over the square within the stamp's Nyquist limits by Gauss-Legendre: nothing wraps."""
    matrix, offset = image.affine_to(scene)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    seen = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2) / 2
    area = np.outer(weights, weights).ravel() / 4
    to_scene = np.linalg.inv(matrix) * image.pixel_scale / psf.pixel_scale
    k = seen @ to_scene  # cycles per scene pixel
    stamp = np.moveaxis(np.indices(psf.image.shape), 0, -1).reshape(-1, 2)
    stamp = stamp - (np.array(psf.image.shape) - 1) / 2
    transfer = np.exp(-2j * np.pi * seen @ stamp.T) @ psf.image.ravel() / model_psf_transfer(k, 1.0)
    transfer *= area * abs(np.linalg.det(to_scene) * np.linalg.det(matrix))
    q = np.moveaxis(np.indices(image.shape), 0, -1).reshape(-1, 2)
    p = np.moveaxis(np.indices(scene.shape), 0, -1).reshape(-1, 2)
    synthesis = np.exp(2j * np.pi * (q @ matrix.T + offset) @ k.T)
    return (synthesis @ (transfer[:, None] * np.exp(-2j * np.pi * k @ p.T))).real


@pytest.mark.parametrize("name", REGISTRY)
def test_dense_matrix(name):
    """Scenes of one bright pixel, the sharpest there can be: 1e-4 of the peak everywhere inside the scene."""
    with jax.enable_x64(True):
        operator, scene, image, psfs, positions = build(name, jnp.float64)
        size = int(np.prod(scene.shape))
        basis = jnp.eye(len(RESPONSE) * size, dtype=jnp.float64).reshape(-1, len(RESPONSE), *scene.shape)
        images = jax.jit(jax.vmap(Operator.__call__, (None, 0)))(operator, basis)
    found = np.asarray(images).reshape(len(RESPONSE), size, -1)
    expected = np.zeros_like(found)
    for term, psf in enumerate(psfs):
        matrix = (
            dense_integral(scene, image, psf) if psf.rings else dense_matrix(scene, image, psf, positions)
        )
        weight = np.ones(size) if operator.maps is None else np.ravel(operator.maps[term])
        row = np.asarray(operator.response[term])
        expected += row[:, None, None] * weight[:, None] * matrix.T
    visible = inside(scene, image, positions=positions).ravel()
    np.testing.assert_allclose(found[..., visible], expected[..., visible], atol=1e-4 * expected.max())


@pytest.mark.parametrize("name", REGISTRY)
def test_linear_and_batched(name):
    operator, _, image, *_ = build(name, jnp.float32)
    x, _ = arrays(operator, image, jnp.float32)
    images = jax.jit(jax.vmap(Operator.__call__, (None, 0)))(operator, jnp.stack([x, 2 * x, -x]))
    expected = np.asarray(jax.jit(Operator.__call__)(operator, x))
    tolerance = 1e-5 * np.abs(expected).max()
    for factor, result in zip((1, 2, -1), np.asarray(images), strict=True):
        np.testing.assert_allclose(result, factor * expected, atol=tolerance)
    scale = jnp.array([2.0, 3.0, 4.0], jnp.float32)
    rescaled = jax.jit(Operator.__call__)(operator.rescaled(scale), x / scale[:, None, None])
    np.testing.assert_allclose(rescaled, expected, atol=tolerance)


def test_the_path_follows_the_grid():
    for name in REGISTRY:
        operator, *_ = build(name, jnp.float32)
        general = name.startswith(("rotated", "sheared", "swapped", "map"))
        kind = NonUniform if general else Folded if name.startswith("folded") else Separable
        assert isinstance(operator.sampler, kind), name


def test_double_precision_stays_inside_its_context():
    assert jnp.zeros(1).dtype == jnp.float32


def test_the_registry_reaches_every_kind():
    """Both samplers, both parities of the period, every size of tile, and stamps that ring."""
    tiles, parities, rings = set(), set(), set()
    for name in REGISTRY:
        operator, _, _, psfs, _ = build(name, jnp.float32)
        parities |= {n % 2 for n in operator.period}
        rings.add((psfs[0].rings, type(operator.sampler)))
        if isinstance(operator.sampler, NonUniform):
            tiles.add(operator.sampler.row_weights.shape[1])
    assert parities == {0, 1}
    assert {1, 16} <= tiles
    either = {(ring, kind) for ring in (True, False) for kind in (Separable, NonUniform)}
    assert rings == either | {(False, Folded)}
