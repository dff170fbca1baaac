"""A figure of effective transfer functions: what each instrument, and all together, say of each band."""

from pathlib import Path

from synergy.io.atomic import replacing
from synergy.plot import check_format
from synergy.sampling.transfer import JOINT, Transfer

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
COLUMNS = 5


def plot_transfer(transfer: Transfer, path: Path | str) -> None:
    """Draw one panel per band with a curve per instrument.

    Parameters
    ----------
    transfer
        From `synergy.sampling.transfer.effective_transfer`.
    path
        File to write; its ending names the format.

    Raises
    ------
    InputError
        If the ending is no known format.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    path = check_format(path)
    columns = min(COLUMNS, len(transfer.bands))
    rows = -(-len(transfer.bands) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.8, 2.2 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(transfer.bands) :]:
        panel.set_axis_off()
    for index, (band, panel) in enumerate(zip(transfer.bands, panels.flat, strict=False)):
        others = (name for name in transfer.curves if name != JOINT)
        styles = {name: {"color": colour, "lw": 1.3} for name, colour in zip(others, _COLOURS, strict=False)}
        styles |= {JOINT: {"color": "black", "lw": 2.2, "ls": (0, (4, 1.5))}}
        for name, curve in transfer.curves.items():
            panel.plot(transfer.frequency[1:], curve[index, 1:], label=name, **styles.get(name, {}))
        panel.set_title(band, fontsize=9)
        panel.set(xscale="log", xlim=(transfer.frequency[1], transfer.frequency[-1]), ylim=(-0.02, 1.02))
        panel.set_xticks([f for f in _TICKS if transfer.frequency[1] <= f <= transfer.frequency[-1]])
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(color="0.9", lw=0.5)
    figure.supxlabel("spatial frequency (cycles per arcsec)", fontsize=9)
    figure.supylabel("prior variance removed by the data", fontsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
