"""The command line: ``synergy demo fetch mock export train sample reconstruct calibrate info``.

Every verb is a few lines around a library function; what takes long to import is imported inside the verb,
so that ``synergy --help`` answers at once. Bad input ends with a message on standard error, exit status 2
and nothing written.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from synergy.allocator import keep_freed_memory
from synergy.arguments import parse_center, parse_disc, parse_shard
from synergy.errors import InputError

app = typer.Typer(
    name="synergy",
    help="What does this patch of sky look like at space resolution in every band, and how sure are we?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)

Draws = Annotated[int, typer.Option(min=1, help="Number of posterior draws.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Prior = Annotated[str, typer.Option(help="'default', 'fast', or a directory written by 'synergy train'.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def main() -> None:
    """Run the command line; the console entry point."""
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        for label, text in (
            ("error", f"{error.source}"),
            ("found", error.found),
            ("expected", error.expected),
            ("remedy", error.remedy),
        ):
            _say(f"{label + ':':10}{text}", err)
        sys.exit(2)
    except FloatingPointError as error:
        _say(f"failed:   {error}", err)
        sys.exit(1)


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the results.")] = Path("synergy-demo"),
    draws: Draws = 16,
    seed: Seed = 0,
    prior: Prior = "default",
) -> None:
    """Make a scene, observe it as Euclid and LSST would, and reconstruct it."""
    from data_prep.demo import run

    with _progress() as progress:
        report = run(out_dir, draws, seed, progress, prior)
    if report is not None:
        out.print(report)


@app.command()
def mock(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/mock/debug.yaml.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the shards and their manifest.")],
    data: Annotated[
        Path | None,
        typer.Option(envvar="SYNERGY_SHARED_DATA", help="Folder of simulations, where settings name some."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make every N-th shard, from the I-th: one of N runs.")
    ] = "1/1",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep whole shards, make the missing ones.")
    ] = False,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this Dask scheduler.")
    ] = None,
) -> None:
    """Make pairs of true scenes and their images; interrupt and --resume at will."""
    from data_prep.make_mocks import make_pair
    from data_prep.mock_config import MockSettings
    from data_prep.run_mocks import run
    from synergy.config import load

    if dask is not None and workers > 1:
        raise InputError("--workers", f"{workers} beside --dask", "one of the two", "Leave one out.")
    settings, part = load(config, MockSettings), parse_shard(shard)
    try:
        with _progress() as progress:
            manifest = run(settings, data, out_dir, make_pair, dask or workers, part, resume, progress)
    except KeyboardInterrupt:
        _say(f"stopped:  whole shards are in {out_dir}; --resume makes the rest", err)
        raise typer.Exit(130) from None
    if manifest is None:
        _say(f"shards:   {out_dir} (part {shard}; the last part to finish writes the manifest)")
    else:
        _say(f"manifest: {manifest}")


@app.command()
def export(
    shard: Annotated[Path, typer.Argument(help="Shard of pairs, such as pairs-test-00000.h5.")],
    row: Annotated[int, typer.Argument(min=0, help="Its row, from 0.")],
    out_file: Annotated[
        Path, typer.Option("--out", help="The file to write, .fits; a .yaml goes beside it.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write one pair as FITS, with a manifest by which 'synergy reconstruct' reads its images."""
    manifest = out_file.with_suffix(".yaml")
    for path in (out_file, manifest):
        _check_target(path, overwrite)
    from synergy.io.export import export_fits
    from synergy.io.pairs import read_pair

    pair = read_pair(shard, row)
    export_fits(pair, out_file)
    _say(f"written: {out_file}{f', {manifest}' if pair.observations else ''}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/train/laptop.yaml.")],
    data: Annotated[
        Path, typer.Option(help="Directory of mocks, of which the truths are used (pairs-*.h5).")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of the run.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted or prolonged run.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Begin from the weights of this prior: a directory, or 'default'."),
    ] = None,
) -> None:
    """Train a prior; interrupt and --resume at will."""
    from synergy.card import write_model_card
    from synergy.config import load
    from synergy.train import TrainConfig
    from synergy.train import train as run

    settings = load(config, TrainConfig)
    try:
        with _progress() as progress:
            run(settings, data, out_dir, resume=resume, start=start, progress=progress)
    except KeyboardInterrupt as stopped:
        reason = f"{stopped}" or "at once, the last checkpoint is kept"
        how = "--resume" if start is None else "--resume in place of --from"
        _say(f"stopped:  {reason}; the same command with {how} goes on", err)
        raise typer.Exit(130) from None
    _say(f"prior: {out_dir / 'prior'}")
    _say(f"card:  {write_model_card(out_dir)}")


@app.command()
def sample(  # noqa: PLR0913 (one per option)
    out_file: Annotated[
        Path, typer.Option("--out", help="The scenes to write, .fits; a .png goes beside it.")
    ],
    prior: Prior = "default",
    number: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 16,
    size: Annotated[int, typer.Option(min=1, help="Side of a scene, pixels.")] = 128,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(min=2, help="Denoiser evaluations per scene.")] = 48,
    scale: Annotated[
        float | None,
        typer.Option(metavar="NJY", help="Flux scale per pixel; drawn as in training when omitted."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run, or a shorter one, ended.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw scenes from a prior alone; interrupt and --resume at will."""
    figure = out_file.with_suffix(".png")
    for path in (out_file, figure):
        _check_target(path, overwrite or resume)
    from synergy.generation import DrawSettings, draw_to_file
    from synergy.plot_scenes import plot_scenes
    from synergy.priors.diffusion import load_prior, read_card

    settings = DrawSettings(size, seed, steps, scale)
    with _progress() as progress:
        drawn, finished = draw_to_file(
            load_prior(prior), read_card(prior), number, settings, out_file, resume, progress
        )
    if drawn is not None:
        plot_scenes(drawn.normalised, drawn.bands, drawn.pixel_scale, figure)
        _say(f"written: {out_file}, {figure}")
        _say(f"scenes:  {len(drawn.scenes)}")
        _say(f"scales:  {drawn.meta['scales']}")
    if not finished:
        _say(f"stopped:  before {number} scenes were there; --resume draws the rest", err)
        raise typer.Exit(130)


@app.command()
def reconstruct(  # noqa: PLR0913 (one per option)
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="FITS cutouts or YAML manifests.")],
    out_file: Annotated[Path, typer.Option("--out", help="The posterior to write, .fits.")],
    prior: Prior = "default",
    draws: Draws = 16,
    seed: Seed = 0,
    layout: Annotated[
        str | None, typer.Option(help="euclid-mer or manifest; recognised when omitted.")
    ] = None,
    center: Annotated[
        str | None, typer.Option(metavar="RA,DEC", help="Degrees, or 10h00m00s,+02d12m00s.")
    ] = None,
    size: Annotated[float | None, typer.Option(metavar="ARCSEC", help="Side of the cutout.")] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Align the images by what they show before reconstructing.")
    ] = False,
    mask: Annotated[
        list[str] | None, typer.Option(metavar="RA,DEC,ARCSEC", help="Mask a disc; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Denoiser evaluations per draw.")] = 32,
    covariance: Annotated[
        str, typer.Option(help="learned, prior, tweedie (slow); auto: learned where the prior can.")
    ] = "auto",
    corrector_sweeps: Annotated[
        int, typer.Option(min=0, metavar="N", help="Then N sweeps of a corrector, 8 evaluations each.")
    ] = 0,
    figure: Annotated[Path | None, typer.Option(help="Also draw this figure (.png, .pdf, .svg).")] = None,
    transfer: Annotated[
        Path | None, typer.Option(help="Also draw which spatial frequencies the images determine.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Sharpen images: draw scenes that explain all of them at once, write the draws and what they say."""
    for path in filter(None, (out_file, figure, transfer)):
        _check_target(path, overwrite)
    if figure is not None or transfer is not None:
        from synergy.plot import check_format

        for path in filter(None, (figure, transfer)):
            check_format(path)
    position = None if center is None else parse_center(center)
    discs = [parse_disc(text) for text in mask or ()]
    from synergy.io.read import read_observations
    from synergy.observation import mask_disc
    from synergy.priors.diffusion import load_prior
    from synergy.reconstruct import SamplerSettings
    from synergy.reconstruct import reconstruct as run
    from synergy.response import respond
    from synergy.tables import band_table, image_table

    observations = read_observations(files, layout, position, size, register)
    for disc in discs:
        observations = mask_disc(observations, *disc)
    loaded = load_prior(prior)
    observations = respond(observations, loaded.bands)
    with _progress() as progress:
        posterior = run(
            observations,
            loaded,
            key=seed,
            draws=draws,
            settings=SamplerSettings(steps=steps, covariance=covariance, corrector_sweeps=corrector_sweeps),
            progress=progress,
        )
    posterior.write(out_file)
    out.print(image_table(posterior, observations))
    out.print(band_table(posterior))
    _say(f"written: {out_file}   (synergy info {out_file} shows the notes on each image)")
    if figure is not None:
        from synergy.plot import plot_posterior

        plot_posterior(posterior, observations, figure)
        _say(f"figure:  {figure}")
    if transfer is not None:
        from synergy.plot_transfer import plot_transfer
        from synergy.sampling.transfer import effective_transfer

        curves = effective_transfer(observations, loaded, posterior.frame, posterior.meta["scale"])
        plot_transfer(curves, transfer)
        _say(f"figure:  {transfer}")


@app.command()
def calibrate(
    config: Annotated[Path, typer.Argument(help="YAML file, such as configs/calibrate/default.yaml.")],
    mocks: Annotated[Path, typer.Option(help="Directory of pairs, from 'synergy mock'.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of the campaign; goes on where it was.")],
) -> None:
    """Reconstruct mocks and tell how often the truth lies where the posterior says."""
    from synergy.calibration.campaign import run
    from synergy.calibration.report import write_report
    from synergy.calibration.settings import CalibrationSettings
    from synergy.config import load

    settings = load(config, CalibrationSettings)
    try:
        with _progress() as progress:
            outcomes = run(settings, mocks, out_dir, progress)
    except KeyboardInterrupt:
        _say(f"stopped:  finished pairs are kept in {out_dir}; the same command goes on", err)
        raise typer.Exit(130) from None
    _say(write_report(settings, outcomes, out_dir))
    _say(f"report:   {out_dir / 'report.md'}")


@app.command()
def info(
    file: Annotated[
        Path, typer.Argument(help="Posterior, drawn scenes, images, manifest, prior, run or pairs.")
    ],
) -> None:
    """Show what a file holds."""
    from synergy.info import describe

    for title, lines in describe(file):
        table = Table(title=title, show_header=False, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for key, value in lines.items():
            table.add_row(key, value)
        out.print(table, markup=False, highlight=False)
        out.print()


@app.command()
def fetch(
    subhalos: Annotated[
        str, typer.Argument(help="Numbers such as 12,20-29, or a text or CSV file of numbers.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Directory for the files.")],
    simulation: Annotated[str, typer.Option(help="Simulation, such as TNG50-1.")],
    snapshot: Annotated[int, typer.Option(min=0, help="Snapshot, such as 95.")],
    product: Annotated[
        str, typer.Option(help="'sdss', 'hsc', or an address with {simulation}, {snapshot} and {subhalo}.")
    ] = "sdss",
    rate: Annotated[float, typer.Option(min=0.01, help="Most requests per second.")] = 2.0,
    api: Annotated[str | None, typer.Option(help="Address of another TNG interface.")] = None,
) -> None:
    """Fetch simulated galaxies from IllustrisTNG (key in TNG_API_KEY); run again to go on."""
    from data_prep.download import Politeness
    from data_prep.fetch import API, fetch_tng, read_subhalos

    with _progress() as progress:
        done = fetch_tng(
            read_subhalos(subhalos),
            out_dir,
            simulation,
            snapshot,
            product=product,
            api=api or API,
            politeness=Politeness(rate=rate),
            progress=progress,
        )
    _say(f"fetched: {done.new}, there already: {done.kept}, in {out_dir}")
    if done.missing:
        more = ", ..." if len(done.missing) > 3 else ""
        _say(f"missing: {len(done.missing)} ({', '.join(done.missing[:3])}{more})")


def _say(text: str, console: Console = out) -> None:
    """Print a line as it is: paths can be copied, whatever the width of the terminal."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_target(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(
            path, "a file that exists", "a new file", "Choose another name, or pass --overwrite."
        )
    if not path.absolute().parent.is_dir():
        raise InputError(
            path,
            f"no directory {path.absolute().parent}",
            "a file in a directory that exists",
            "Create the directory first.",
        )


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function ``(done, total, label)`` that moves a progress bar on standard error."""
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)
