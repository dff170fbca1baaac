"""What a file of ours holds, as sections of short lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synergy.errors import InputError
from synergy.io.training_log import read_rows

Section = tuple[str, dict[str, str]]


def describe(name: Path | str) -> list[Section]:
    """Return titles and their key-value lines for a posterior, images, a prior, a run or pairs.

    Parameters
    ----------
    name
        ``posterior.fits``, the scenes of ``synergy sample``, a Euclid MER cutout, a manifest, a prior's
        directory or name, a training run's directory, a ``.safetensors`` file, an HDF5 shard of pairs, or
        the manifest of pairs.

    Raises
    ------
    InputError
        If the file is missing, damaged or none of these.
    """
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return _safetensors(path)
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()](path)
    if path.is_dir() and (path / "config.json").is_file():
        return _run(path)
    if path.is_dir() or not path.exists():
        return _prior(path)
    raise InputError(
        path,
        f"a file ending in '{path.suffix}'",
        ".fits, .yaml, .h5, .ecsv, .safetensors or the directory of a prior or training run",
        "Name a file that synergy writes or reads.",
    )


def _fits(path: Path) -> list[Section]:
    from synergy.io.images import open_fits

    with open_fits(path) as hdus:
        drawn = "KIND" in hdus[0].header and "SCENES" in hdus
        posterior = {"META", "VERSION"} & set(hdus[0].header) and "DRAWS" in hdus
    if drawn:
        return _drawn(path)
    return _posterior(path) if posterior else _images(path)


def _drawn(path: Path) -> list[Section]:
    from synergy.drawn_scenes import DrawnScenes

    drawn = DrawnScenes.read(path)
    count, _, ny, nx = drawn.scenes.shape
    low, middle, high = np.percentile(drawn.scale, [0, 50, 100])
    scenes = {
        "scenes": str(count),
        "shape": f"{ny} x {nx} pixels of {drawn.pixel_scale:.4g} arcsec",
        "flux scale": f"{low:.4g} to {high:.4g}, median {middle:.4g} nJy/pixel",
    }
    flux = drawn.scenes.sum(axis=(2, 3), dtype=np.float64)
    bands = {
        name: "flux {:.4g} to {:.4g}, median {:.4g} nJy".format(*np.percentile(f, [0, 100, 50]))
        for name, f in zip(drawn.bands, flux.T, strict=True)
    }
    meta = {key: _short(value) for key, value in drawn.meta.items() if key != "scale"}
    return [("scenes drawn from a prior", scenes | meta), ("bands", bands)]


def _posterior(path: Path) -> list[Section]:
    from synergy.posterior import Posterior

    post = Posterior.read(path)
    meta = {k: _short(v) for k, v in post.meta.items() if k not in ("notes", "inputs")}
    ny, nx = post.frame.shape
    scene = {
        "draws": str(len(post.draws)),
        "shape": f"{ny} x {nx} pixels of {post.frame.pixel_scale:.4g} arcsec",
        "centre": post.frame.center.to_string("hmsdms", precision=2),
    }
    bands = {
        name: f"{flux}, {'observed' if seen else 'prior only'}"
        for name, seen, flux in zip(post.bands, post.observed, fluxes(post), strict=True)
    }
    images = {
        name: f"chi2 per pixel {value:.3f} of {count} pixels"
        for name, value, count in zip(post.images, post.chi2_per_pixel, post.n_pixels, strict=True)
    }
    notes = {
        f"{image} ({i})": text
        for image, texts in post.meta.get("notes", {}).items()
        for i, text in enumerate(texts, 1)
    }
    sections = [
        ("posterior", scene | meta),
        ("inputs", dict(enumerate_names(post.meta.get("inputs", [])))),
        ("bands", bands),
        ("images", images),
        ("notes", notes),
    ]
    return [section for section in sections if section[1]]


def fluxes(posterior: Any) -> list[str]:
    """Return the flux per band of the sky that the images cover, ``mean +- std nJy``."""
    total = posterior.flux(posterior.covered)
    return [f"{m:.4g} +- {s:.2g} nJy" for m, s in zip(total.mean(axis=0), total.std(axis=0), strict=True)]


def enumerate_names(names: list[str]) -> list[tuple[str, str]]:
    """Return names with their numbers, from 1."""
    return [(str(i), str(name)) for i, name in enumerate(names, start=1)]


def _images(path: Path) -> list[Section]:
    from synergy.io.assemble import frame_of
    from synergy.io.read import LAYOUTS, detect_layout

    layout = detect_layout(path)
    lines = {}
    for spec in LAYOUTS[layout](path):
        frame = frame_of(spec)
        lines[spec.name] = (
            f"{spec.band}, {frame.shape[0]} x {frame.shape[1]} pixels of {frame.pixel_scale:.4g} arcsec, "
            f"zero point {spec.zeropoint}, noise {spec.noise_kind}"
        )
    return [(f"images ({layout})", lines)]


def _prior(name: Path) -> list[Section]:
    from synergy.priors.diffusion import read_card

    return [(f"prior {name}", {key: _short(value) for key, value in read_card(name).items()})]


def _run(path: Path) -> list[Section]:
    sections = [
        ("training run", {k: _short(v) for k, v in json.loads((path / "config.json").read_text()).items()})
    ]
    rows = read_rows(path / "log.csv")
    if rows:
        sections.append(("last step", rows[-1]))
    levels = read_rows(path / "validation.csv")
    errors = {
        f"sigma {float(row['sigma']):g}, average {row['average']}": f"{float(row['error']):.4g} sigma^2, "
        f"{float(row['ratio']):.4g} of the best linear denoiser's"
        for row in levels
        if row["step"] == levels[-1]["step"]
    }
    if errors:
        sections.append((f"held-out error at step {levels[-1]['step']}", errors))
    return sections


def _hdf5(path: Path) -> list[Section]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            kind = str(file.attrs.get("kind", ""))
            attributes = {str(k): _short(v) for k, v in file.attrs.items()}
            arrays: dict[str, str] = {}
            file.visititems(
                lambda key, item: arrays.update({key: _array(item)} if hasattr(item, "shape") else {})
            )
    except OSError as error:
        raise InputError(
            path, str(error), "an HDF5 file", "Check the path, or make the file again."
        ) from error
    pairs = _pairs(path) if kind == "pairs" else []
    return [*pairs, ("attributes", attributes), ("arrays", arrays)]


def _pairs(path: Path) -> list[Section]:
    from synergy.io.pairs import read_pair, reading

    with reading(path) as file:
        names = file["object_id"].asstr()[:]
        fwhm = {
            name: np.median(images["psf_fwhm"][:, i])
            for images in file["images"].values()
            for i, name in enumerate(images["name"].asstr()[:])
        }
    first = read_pair(path, 0)
    ny, nx = first.frame.shape
    truth = {
        "rows": f"{len(names)}, {names[0]} to {names[-1]}",
        "split": first.split,
        "truth": f"{ny} x {nx} pixels of {first.frame.pixel_scale:.4g} arcsec",
        "bands": ", ".join(first.bands),
    }
    images = {}
    for o in first.observations:
        noise = "independent" if o.correlation is None else "correlated"
        images[o.name] = (
            f"{o.band}, {o.frame.shape[0]} x {o.frame.shape[1]} pixels of {o.frame.pixel_scale:.4g} arcsec, "
            f"PSF of {fwhm[o.name]:.3g} arcsec (median), {noise} noise"
        )
    return [("pairs", truth), *([("images", images)] if images else [])]


def _pair_manifest(path: Path) -> list[Section]:
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
        splits, shards = np.array(table["split"]), np.array(table["shard"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            path,
            " ".join(str(error).split()),
            "the manifest of a data set of pairs",
            "Make it again: synergy mock --resume.",
        ) from error
    counts = {
        split: f"{np.sum(splits == split)} pairs in {len(set(shards[splits == split]))} shards"
        for split in np.unique(splits)
    }
    ranges = {}
    for name in table.colnames:
        if name == "redshift" or name.startswith("magnitude_"):
            values = np.array(table[name], float)
            values = values[np.isfinite(values)]
            if len(values):
                low, middle, high = np.percentile(values, [0, 50, 100])
                ranges[name] = f"{low:.4g} to {high:.4g}, median {middle:.4g}"
    galaxies = {
        "main galaxies": str(len(set(table["galaxy"].tolist()) - {None, ""})),
        "sources": str(int(np.sum(table["n_sources"]))),
    }
    return [("pairs", counts | {k: str(v) for k, v in table.meta.items()}), ("shown", galaxies | ranges)]


def _safetensors(path: Path) -> list[Section]:
    from safetensors import SafetensorError, safe_open

    card = path.with_name("prior.json")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {k: _short(v) for k, v in (file.metadata() or {}).items()}
            arrays = {key: _array(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(path, str(error), "a safetensors file", "Copy the file again.") from error
    sections = _prior(path.parent) if card.is_file() else [("metadata", metadata)]
    return [*sections, ("arrays", arrays)]


def _array(array: Any) -> str:
    return f"{array.dtype} {' x '.join(str(n) for n in array.shape) or 'scalar'}"


def _short(value: Any, limit: int = 200) -> str:
    """Return a value on one line of bounded length."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


_BY_SUFFIX: dict[str, Callable[[Path], list[Section]]] = {
    ".fits": _fits,
    ".fit": _fits,
    ".fz": _fits,
    ".gz": _fits,
    ".yaml": _images,
    ".yml": _images,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".ecsv": _pair_manifest,
}
