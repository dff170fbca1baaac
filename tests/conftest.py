"""Shared test set-up: run-time type checks, strict dtypes and the optional real data."""

import os
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook(["synergy", "data_prep"], "beartype.beartype")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data, or skip and say how to provide it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SYNERGY_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(
            "no real data: set SYNERGY_SHARED_DATA to the folder that holds euclid_q1/ and its neighbours"
        )
    return folder
