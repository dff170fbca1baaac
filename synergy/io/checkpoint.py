"""Training state as one safetensors file: a pytree of arrays named by their paths, and JSON metadata.

One file, replaced by a rename, so a run that is killed at any moment leaves the previous state or the next,
never a mixture. A digest of the arrays is in the file, so that damage does not pass for weights.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from synergy.errors import InputError
from synergy.io.atomic import write_bytes

Tree = TypeVar("Tree")


def save_checkpoint(path: Path, tree: Any, metadata: dict[str, Any]) -> None:
    """Write a pytree of arrays and its metadata."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    tensors = {jax.tree_util.keystr(key): np.asarray(leaf).reshape(np.shape(leaf)) for key, leaf in leaves}
    stored = {"json": json.dumps(metadata), "sha256": _digest(tensors)}
    write_bytes(path, save(tensors, metadata=stored))


def load_checkpoint(
    path: Path, like: Tree, check: Callable[[dict[str, Any]], None] | None = None
) -> tuple[Tree, dict[str, Any]]:
    """Read a pytree and its metadata.

    Parameters
    ----------
    path
        The file.
    like
        Pytree of the same structure, shapes and dtypes.
    check
        Called with the metadata, to refuse a file before its arrays are compared with `like`.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds another structure.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            stored = file.metadata() or {}
            metadata, digest = json.loads(stored["json"]), stored["sha256"]
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if _digest(tensors) != digest:
            raise ValueError("the arrays are not those that were written")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            path,
            f"{type(error).__name__}: {error}",
            "a training state written by synergy",
            "Restore the file from a copy, or begin a new run in another directory.",
        ) from error
    if check is not None:
        check(metadata)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    restored = []
    for key, leaf in leaves:
        name = jax.tree_util.keystr(key)
        value = tensors.get(name)
        if value is None or value.shape != leaf.shape or value.dtype != leaf.dtype:
            found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
            raise InputError(
                f"{path}[{name}]",
                found,
                f"{leaf.dtype}{list(leaf.shape)}",
                "The state belongs to another configuration; start without --resume.",
            )
        restored.append(jax.numpy.asarray(value))
    return jax.tree_util.tree_unflatten(structure, restored), metadata


def _digest(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
