"""No compiled program of the package calls LAPACK in large batches.

JAX 0.10 on two cores deadlocks when one compiled program holds several independent batched calls (a solve, a
Cholesky or an eigenvalue decomposition) of 512 matrices or more. What the samplers need of small matrices is
therefore done once, by NumPy, or written in elementary operations. Whatever hangs all the same ends by the
time limit in pyproject.toml.
"""

import ast
from pathlib import Path

import pytest

import synergy

ROOT = Path(synergy.__file__).parent
FEW = {"sampling/tweedie.py": ["jnp.linalg.eigh"]}
"""Calls of one matrix per draw, of which there are some tens at most."""


def lapack_in(source: str) -> list[str]:
    """Return the names of JAX's linear algebra that a file uses."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [
        name
        for name in found
        if name.startswith(("jax", "jnp", "jsp", "lax")) and "linalg" in name.split(".")
        # A norm is a sum; the module itself is what is named on the way to a function.
        if not name.endswith((".norm", "jnp.linalg"))
    ]


def test_linear_algebra_is_left_to_numpy():
    found = {path: lapack_in(path.read_text()) for path in ROOT.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): names for path, names in found.items() if names} == FEW


@pytest.mark.parametrize(
    "source",
    [
        "import jax.numpy as jnp\nx = jnp.linalg.solve(a, b)",
        "from jax.scipy.linalg import cho_solve",
        "from jax.numpy import linalg",
        "import jax.scipy.linalg as l",
        "import jax\njax.lax.linalg.cholesky(a)",
    ],
)
def test_use_is_found(source):
    assert lapack_in(source)


def test_numpy_and_norms_may():
    assert not lapack_in("import numpy as np\nfrom scipy.linalg import cho_solve\nnp.linalg.solve(a, b)")
    assert not lapack_in("import jax.numpy as jnp\njnp.linalg.norm(a)")
