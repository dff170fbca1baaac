"""Training state as one safetensors file: a pytree of arrays named by their paths, and JSON metadata.

One file, replaced by a rename, so a run that is killed at any moment leaves the previous state or the next,
never a mixture.
"""

import json
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
    write_bytes(path, save(tensors, metadata={"json": json.dumps(metadata)}))


def load_checkpoint(path: Path, like: Tree) -> tuple[Tree, dict[str, Any]]:
    """Read a pytree of the structure, shapes and dtypes of `like`, and its metadata.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds another structure.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})["json"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            path,
            f"{type(error).__name__}: {error}",
            "a training state written by synergy",
            "Start without --resume, or restore the file.",
        ) from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    restored = []
    for key, leaf in leaves:
        name = jax.tree_util.keystr(key)
        value = tensors.get(name)
        if value is None or value.shape != np.shape(leaf) or value.dtype != np.asarray(leaf).dtype:
            found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
            raise InputError(
                f"{path}[{name}]",
                found,
                f"{np.asarray(leaf).dtype}{list(np.shape(leaf))}",
                "The state belongs to another configuration; start without --resume.",
            )
        restored.append(jax.numpy.asarray(value))
    return jax.tree_util.tree_unflatten(structure, restored), metadata
