"""YAML configuration files: read into a frozen pydantic model, or refused with the key that is wrong.

A configuration is data, never code: the model declares every key, its type and its default; anything else
in the file is an error that names the file and the key. `config_hash` identifies the settings a result was
made with.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from synergy.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path | str, model: type[Model]) -> Model:
    """Read a YAML file into a configuration model.

    Parameters
    ----------
    path
        YAML file with one mapping at the top.
    model
        Pydantic model with ``extra="forbid"``.

    Raises
    ------
    InputError
        If the file is missing or no YAML, or a key is unknown, missing or has a bad value.
    """
    values = _read_yaml(Path(path))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explain(Path(path), error, model) from error


def config_hash(config: BaseModel) -> str:
    """Return 12 hexadecimal digits that identify the settings, whatever the order of their keys."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            path, error.strerror or "no readable file", "a YAML file", "Check the path."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())
        raise InputError(path, found, "valid YAML", "Correct the line it names.") from error
    if not isinstance(values, dict):
        raise InputError(
            path,
            f"a {type(values).__name__} at the top",
            "a mapping of keys to values",
            "Write 'key: value' lines.",
        )
    return values


def _explain(path: Path, error: ValidationError, model: type[BaseModel]) -> InputError:
    """Turn pydantic's list of complaints into ours, one line per key."""
    found, expected = [], []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(top)"
        if item["type"] == "extra_forbidden":
            found.append(f"unknown key '{key}'")
        elif item["type"] == "missing":
            found.append(f"no key '{key}'")
        else:
            found.append(f"{key} = {item['input']!r}")
            expected.append(f"{key}: {item['msg']}")
    keys = ", ".join(model.model_fields)
    return InputError(
        path,
        "; ".join(found),
        "; ".join(expected) or f"the keys of {model.__name__} ({keys})",
        "Correct or remove the keys named.",
    )
