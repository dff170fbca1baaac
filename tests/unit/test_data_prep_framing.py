"""Frames: the galaxy in the middle, dark edges, no light moved."""

import numpy as np

from data_prep.framing import framed


def blob(shape, centre, sigma=3.0, reach=None):
    y, x = np.indices(shape)
    radius = np.hypot(y - centre[0], x - centre[1])
    light = np.exp(-0.5 * (radius / sigma) ** 2)
    return light if reach is None else np.where(radius < reach, light, 0.0)


def test_the_brightest_point_comes_to_the_centre():
    light = np.stack([blob((60, 71), (20, 45), reach=12), 2.0 * blob((60, 71), (20, 45), reach=12)])
    out = framed(light)
    assert out.shape[1] == out.shape[2]
    assert out.shape[1] % 2 == 1
    middle = out.shape[1] // 2
    assert np.unravel_index(np.argmax(out[0]), out[0].shape) == (middle, middle)
    np.testing.assert_allclose(out.sum(axis=(1, 2)), light.sum(axis=(1, 2)))
    np.testing.assert_array_equal(out[0], out[0].T)


def test_light_within_a_dark_frame_is_not_changed():
    light = blob((80, 80), (39, 40), reach=20)[None]
    out = framed(light)[0]
    middle = out.shape[0] // 2
    np.testing.assert_array_equal(out[middle - 15 : middle + 16, middle - 15 : middle + 16],
                                  light[0, 24:55, 25:56])  # fmt: skip


def test_a_frame_that_cuts_light_off_is_faded():
    light = np.stack([blob((64, 64), (31.6, 31.4), sigma=20.0)] * 2)
    out = framed(light)
    edge = np.concatenate([out[:, 0], out[:, -1], out[:, :, 0], out[:, :, -1]], axis=1)
    assert edge.max() == 0
    middle = out.shape[1] // 2
    np.testing.assert_allclose(out[0, middle, middle], light.max(), rtol=1e-3)
    # The fade is round: nothing shows of the square's corners.
    y, x = np.indices(out.shape[1:]) - middle
    assert out[0][np.hypot(y, x) > 34].max() == 0
