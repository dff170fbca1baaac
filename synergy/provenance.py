"""Which version of the code made a file."""

import subprocess
from importlib.metadata import version
from pathlib import Path


def code() -> dict[str, str]:
    """Return the version of the package and the commit of a source checkout (empty where installed)."""
    return {"version": version("synergy"), "commit": _commit()}


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return ""
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
