"""Weights of networks for tests."""

import jax
import jax.numpy as jnp
import numpy as np


def without_zeros(params):
    """Return weights of which none is zero, so that every path through a network is exercised."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda v: v + 0.1 * jnp.asarray(rng.standard_normal(v.shape), v.dtype), params)
