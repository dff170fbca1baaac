"""Pictures of a run: the loss against steps, and the held-out error against steps and noise level."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from synergy.io.atomic import replacing
from synergy.io.training_log import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[dict[str, str]]


def draw_run(run: Path, folder: Path | None = None) -> None:
    """Draw ``loss.png`` and ``validation.png``.

    Parameters
    ----------
    run
        Run directory.
    folder
        Where to put them; into the run directory when omitted.
    """
    log, validation = read_rows(run / "log.csv"), read_rows(run / "validation.csv")
    if log:
        _save(_loss_figure(log), (folder or run) / "loss.png")
    if validation:
        _save(_validation_figure(validation), (folder or run) / "validation.png")


def _save(figure: "Figure", path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _column(rows: Rows, key: str) -> Float[np.ndarray, " row"]:
    return np.array([float(row[key]) for row in rows])


def _loss_figure(rows: Rows) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    steps, loss = _column(rows, "step"), _column(rows, "loss")
    axes.plot(steps, loss, color="0.8", lw=0.7)
    width = max(1, len(loss) // 20)
    padded = np.pad(loss, (width - 1, 0), mode="edge")
    axes.plot(steps, np.convolve(padded, np.ones(width) / width, "valid"), color="C0")
    # Linear: with a variance head the loss holds logarithms. The first steps are off scale.
    low, high = np.percentile(loss, [0, 95])
    axes.set(xlabel="step", ylabel="training loss", ylim=(low - 0.05 * (high - low) - 1e-6, high + 1e-6))
    return figure


def _validation_figure(rows: Rows) -> "Figure":
    """Draw one panel against steps, a line per noise level, and one of the last validation against sigma."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    averages = list(dict.fromkeys(row["average"] for row in rows))
    styles = dict(zip(averages, ("-", ":", "--", "-."), strict=False))
    for i, sigma in enumerate(dict.fromkeys(row["sigma"] for row in rows)):
        for average in averages:
            line = [row for row in rows if (row["sigma"], row["average"]) == (sigma, average)]
            label = f"{float(sigma):g}" if average == averages[0] else None
            style = {"color": f"C{i}", "ls": styles.get(average, "-"), "marker": "."}
            left.plot(_column(line, "step"), _column(line, "ratio"), label=label, **style)
    last = [row for row in rows if row["step"] == rows[-1]["step"]]
    for average in averages:
        line = [row for row in last if row["average"] == average]
        style = {"color": "k", "ls": styles.get(average, "-"), "marker": "."}
        right.plot(_column(line, "sigma"), _column(line, "ratio"), label=average, **style)
    for axes in (left, right):
        axes.axhline(1.0, color="0.7", lw=0.7)
        axes.set_yscale("log")
    left.set(xlabel="step", ylabel="held-out error / best linear denoiser's")
    left.legend(title="sigma", fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    right.set(xlabel="sigma", xscale="log", title=f"step {rows[-1]['step']}")
    right.legend(title="average's exponent", fontsize="small")
    return figure
