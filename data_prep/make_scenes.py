"""Make training scenes: sky with one to several galaxies, off-centre, cut by the edge, and empty sky.

Run as ``python -m data_prep.make_scenes CONFIG --data DIR --out DIR``. A scene is a pure function of
configuration and index, so any shard can be made anywhere, in any order, and complete shards are not made
again.
"""

import argparse
import dataclasses
import functools
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import galsim
import h5py
import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from data_prep.colour_library import ColourLibrary
from data_prep.colours import light_maps, spectra
from data_prep.placement import Pose
from data_prep.planes import MODEL_SIGMA, place
from data_prep.population import Population, draw_magnitude
from data_prep.readers.eagle import lineage, read_eagle, read_index
from data_prep.readers.hst import read_colours
from data_prep.sky import LightMaps
from data_prep.splits import SPLITS, split_of
from data_prep.stars import stellar_spectrum
from synergy.config import load
from synergy.errors import InputError
from synergy.io.atomic import replacing
from synergy.survey import SCENE_BANDS
from synergy.templates import TYPES
from synergy.units import flux_from_magnitude


class SceneConfig(BaseModel):
    """Settings of a set of scenes; YAML keys of the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    bands: tuple[str, ...] = SCENE_BANDS
    side: int = Field(128, ge=16, description="pixels")
    pixel_scale: float = Field(0.05, gt=0, description="arcsec")
    shard: int = Field(250, ge=1, description="scenes per shard")
    shards: dict[Literal["train", "validation", "test"], int] = Field(description="shards of each split")
    bright: float = Field(19.0, description="brightest F814W magnitude of a main galaxy")
    faint: float = Field(25.0, description="faintest F814W magnitude of a main galaxy")
    faintest: float = Field(27.0, description="faintest neighbour")
    neighbours: float = Field(1.5, ge=0, description="mean number of unrelated neighbours")
    companion: float = Field(0.3, ge=0, le=1, description="probability of a close companion")
    empty: float = Field(0.08, ge=0, le=1, description="probability that there is no main galaxy")
    star: float = Field(0.04, ge=0, le=1, description="probability of a star")
    smooth: float = Field(0.2, ge=0, le=1, description="fraction of galaxies with analytic bulge and disc")
    seed: int = Field(0, ge=0)


@dataclasses.dataclass(frozen=True)
class Ingredients:
    """What scenes are made from."""

    folder: Path
    rows: dict[str, list[dict[str, str]]]
    colours: ColourLibrary
    population: Population

    @classmethod
    def read(cls, data: Path) -> "Ingredients":
        """Read indices and catalogues of the real data."""
        folder = data / "eagle_skirt_rgb"
        rows: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
        for row in read_index(folder):
            rows[split_of(lineage(row))].append(row)
        return cls(
            folder=folder,
            rows=rows,
            colours=ColourLibrary(tuple(read_colours(data / "hst_f606w_f814w_f125w"))),
            population=Population.read(data / "catalogues" / "cosmos_23.5_500_sersic_fits.fits"),
        )


@functools.lru_cache(maxsize=2048)
def _eagle_source(folder: Path, file: str, items: tuple[tuple[str, str], ...]) -> LightMaps:
    return light_maps(read_eagle(folder, dict(items)))


def _galaxy(
    split: str, centre: tuple[float, float], magnitude: float, ingredients: Ingredients, config: SceneConfig,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "band y x"], str]:  # fmt: skip
    """Draw one galaxy and put it on the scene; also return its name."""
    arcsec, redshift = ingredients.population.draw(magnitude, rng)
    wanted = arcsec / config.pixel_scale
    shape = (config.side, config.side)
    if rng.random() < config.smooth:
        maps, light = _smooth_galaxy(centre, max(wanted, 1.0), shape, rng)
        name = light.id
    else:
        row = ingredients.rows[split][rng.integers(len(ingredients.rows[split]))]
        light = _eagle_source(ingredients.folder, row["file"], tuple(sorted(row.items())))
        # A randomly inclined thin disc has uniform axis ratios; thickness keeps them above 0.3.
        pose = Pose(
            zoom=min(wanted / light.radius, 1.3),
            axis_ratio=float(rng.uniform(0.3, 1.0)),
            position_angle=float(rng.uniform(0.0, np.pi)),
            spin=float(rng.uniform(0.0, 2.0 * np.pi)),
            mirrored=bool(rng.integers(2)),
        )
        maps = place(light.maps, pose.matrix, centre, shape)
        name = f"{lineage(row)}/{row['GalaxyID']}"
    fluxes = spectra(light, config.bands, redshift, rng, ingredients.colours, magnitude)
    return np.tensordot(fluxes.T, maps, axes=1) * flux_from_magnitude(magnitude), name


def _smooth_galaxy(
    centre: tuple[float, float], radius: float, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "map y x"], LightMaps]:
    """Return a bulge and a disc on the scene, through the model PSF, and what they are made of."""
    profiles = (
        galsim.Sersic(
            float(rng.uniform(1.5, 4.5)), half_light_radius=radius * rng.uniform(0.3, 1.0), trunc=8.0 * radius
        ),
        galsim.Exponential(half_light_radius=radius * rng.uniform(0.9, 1.3)),
    )
    angle = float(rng.uniform(0.0, 180.0)) * galsim.degrees
    ratios = rng.uniform(0.6, 1.0), rng.uniform(0.2, 1.0)
    psf = galsim.Gaussian(sigma=MODEL_SIGMA)
    offset = galsim.PositionD(centre[1] - (shape[1] - 1) / 2, centre[0] - (shape[0] - 1) / 2)
    seen = [
        galsim.Convolve(profile.shear(q=float(ratio), beta=angle), psf).drawImage(
            nx=shape[1], ny=shape[0], scale=1.0, offset=offset, method="no_pixel", dtype=float
        )
        for profile, ratio in zip(profiles, ratios, strict=True)
    ]
    bulge, disc = (np.maximum(image.array, 0.0) for image in seen)
    share = rng.beta(1.0, 1.5)
    old = share * np.array([0.9, 0.1, 0.0, 0.0])
    young = (1.0 - share) * rng.dirichlet([1.0, 2.0, 2.0, 1.0])
    shares = old + young
    maps = (np.multiply.outer(old, bulge) + np.multiply.outer(young, disc)) / shares[:, None, None]
    kinds = tuple((name, 0.0) for name in TYPES)
    return maps, LightMaps("sersic", "sersic", maps, shares, kinds, own_colours=False, radius=radius)


def _star(
    centre: tuple[float, float], magnitude: float, config: SceneConfig, rng: np.random.Generator
) -> Float[np.ndarray, "band y x"]:
    y, x = np.indices((config.side, config.side))
    square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    spot = np.exp(-0.5 * square / MODEL_SIGMA**2) / (2.0 * np.pi * MODEL_SIGMA**2)
    flux = stellar_spectrum(config.bands, rng) * flux_from_magnitude(magnitude)
    return np.multiply.outer(flux, spot)


def make_scene(
    split: str, index: int, ingredients: Ingredients, config: SceneConfig
) -> tuple[Float[np.ndarray, "band y x"], list[str]]:
    """Make one scene in nJy/pixel and name its galaxies.

    Parameters
    ----------
    split
        Which galaxies may appear.
    index
        Number of the scene within its split.
    ingredients
        Galaxies, colours and catalogue.
    config
        Settings.
    """
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    side = config.side
    scene = np.zeros((len(config.bands), side, side))
    names = []

    def add(centre: tuple[float, float], magnitude: float) -> None:
        planes, name = _galaxy(split, centre, magnitude, ingredients, config, rng)
        scene[...] += planes
        names.append(name)

    def anywhere(beyond: float) -> tuple[float, float]:
        return tuple(float(c) for c in rng.uniform(-beyond * side, (1.0 + beyond) * side, 2))

    if rng.random() >= config.empty:
        centre, magnitude = anywhere(0.05), float(rng.uniform(config.bright, config.faint))
        add(centre, magnitude)
        if rng.random() < config.companion:
            distance, angle = rng.uniform(3.0, 30.0), rng.uniform(0.0, 2.0 * np.pi)
            beside = (centre[0] + distance * np.sin(angle), centre[1] + distance * np.cos(angle))
            add(tuple(map(float, beside)), min(magnitude + float(rng.exponential(1.5)), config.faintest))
    for _ in range(rng.poisson(config.neighbours)):
        add(anywhere(0.2), draw_magnitude(config.bright + 2.0, config.faintest, rng, 0.25))
    if rng.random() < config.star:
        scene += _star(anywhere(0.0), float(rng.uniform(config.bright, config.faint)), config, rng)
        names.append("star")
    return scene.astype(np.float32), names


@functools.cache
def _ingredients(data: Path) -> Ingredients:
    return Ingredients.read(data)


def make_shard(split: str, number: int, data: Path, out: Path, config: SceneConfig) -> Path:
    """Make one shard, unless it is there.

    Raises
    ------
    InputError
        If there is a damaged one or one of another configuration, or the data do not hold what it needs.
    """
    path = out / f"scenes-{split}-{number:05d}.h5"
    settings = config.model_dump_json(exclude={"shards"})
    if path.exists():
        try:
            with h5py.File(path, "r") as file:
                before = file.attrs["config"]
        except (OSError, KeyError) as error:
            raise InputError(path, str(error), "a shard with its settings", "Delete the file.") from error
        if before != settings:
            raise InputError(
                path, f"a shard of the settings {before}", settings, "Choose another directory for --out."
            )
        return path
    ingredients = _ingredients(data)
    if config.smooth < 1 and not ingredients.rows[split]:
        raise InputError(
            ingredients.folder,
            f"no galaxy of the {split} split",
            "some of every split",
            "Use the whole index.",
        )
    first = number * config.shard
    made = [make_scene(split, first + i, ingredients, config) for i in range(config.shard)]
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        scenes = np.stack([scene for scene, _ in made])
        file.create_dataset("scene", data=scenes)
        file["galaxies"] = [json.dumps(names) for _, names in made]
        file["index"] = first + np.arange(config.shard)
        file.attrs["bands"] = json.dumps(config.bands)
        file.attrs["pixel_scale"] = config.pixel_scale
        file.attrs["split"] = split
        file.attrs["config"] = settings
    return path


def make_scenes(config: SceneConfig, data: Path, out: Path, workers: int = 1) -> list[Path]:
    """Make all shards of a configuration.

    Parameters
    ----------
    config
        Settings.
    data
        Folder of the real data.
    out
        Directory of the shards; complete ones are kept.
    workers
        Number of processes.

    Raises
    ------
    InputError
        As `make_shard`, or if there is no making or writing `out`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            out, error.strerror or str(error), "a directory", "Choose another one for --out."
        ) from error
    jobs = [
        (split, number, data, out, config)
        for split, count in config.shards.items()
        for number in range(count)
    ]
    if workers == 1:
        return [make_shard(*job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(make_shard, *job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:  # report what is wrong now, not after hours of other shards
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def main() -> None:
    """Read the command line and make scenes."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.make_scenes",
        description="Make training scenes. Shards that are complete are kept, so run it again to continue.",
    )
    parser.add_argument("config", type=Path, help="YAML file of settings, such as configs/mock/scenes.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--out", type=Path, required=True, help="directory for the shards")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("--workers must be 1 or more")
    try:
        make_scenes(load(arguments.config, SceneConfig), arguments.data, arguments.out, arguments.workers)
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
