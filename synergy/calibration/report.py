"""What a campaign found: tables, a figure and a page that says it in words.

``coverage.ecsv``
    Share of truths inside credible intervals, by kind of summary and bin of S/N. The numbers of one kind (all
    fluxes, say) are averaged; their binomial error is that of as many simulations as there are pairs, since
    summaries of one scene go together.
``ranks.ecsv``
    Of each summary the p-values of uniform ranks and the excess of the CRPS, in standard deviations.
``report.md``, ``calibration.png``
    The same to read, with TARP, chi-squared and false structures.
"""

import io
import itertools
from pathlib import Path

import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.figure import Figure

from synergy.calibration.campaign import Outcome
from synergy.calibration.settings import CalibrationSettings
from synergy.io.atomic import replacing, write_bytes
from synergy.metrics.calibration import by_bins
from synergy.metrics.crps import crps
from synergy.metrics.sbc import ranks, uniformity
from synergy.metrics.tarp import TARP, tarp

KINDS = {
    "flux": ("flux ", "total flux "),
    "colour": ("colour ",),
    "size": ("T ",),
    "ellipticity": ("e1 ", "e2 "),
    "position": ("offset ",),
    "random functional": ("random ",),
}
"""Kinds of summaries, by how their names begin."""


def write_report(settings: CalibrationSettings, outcomes: list[Outcome], out: Path) -> str:
    """Write tables, figure and page; return the page.

    Parameters
    ----------
    settings
        The campaign.
    outcomes
        Its pairs.
    out
        Directory.
    """
    draws = np.stack([o.draws for o in outcomes])
    truth = np.stack([o.truth for o in outcomes])
    snr = np.array([o.snr for o in outcomes])
    names = outcomes[0].names
    rng = np.random.default_rng(settings.seed)
    coverage = coverage_table(settings, names, snr, draws, truth)
    by_rank = rank_table(names, draws, truth, rng)
    together = tarp(draws, truth, rng)
    for name, table in (("coverage", coverage), ("ranks", by_rank)):
        with replacing(out / f"{name}.ecsv") as temporary:
            table.write(temporary, format="ascii.ecsv", overwrite=True)
    held = io.BytesIO()
    _figure(names, draws, truth, coverage, together, rng).savefig(held, format="png", dpi=110)
    write_bytes(out / "calibration.png", held.getvalue())
    page = _page(settings, outcomes, coverage, by_rank, together)
    write_bytes(out / "report.md", page.encode())
    return page


def coverage_table(
    settings: CalibrationSettings,
    names: tuple[str, ...],
    snr: Float[np.ndarray, " pair"],
    draws: Float[np.ndarray, "pair draw summary"],
    truth: Float[np.ndarray, "pair summary"],
) -> Table:
    """Return coverage by kind of summary, S/N and level.

    Parameters
    ----------
    settings
        The campaign.
    names
        Of the summaries.
    snr
        Of the pairs.
    draws, truth
        Values of the summaries.
    """
    edges = settings.snr_edges
    rows = []
    for low, high in [(edges[0], edges[-1]), *itertools.pairwise(edges)]:
        (bin_,) = by_bins(snr, (low, high), draws, truth, settings.levels)
        for kind, columns in _kinds(names).items():
            for i, level in enumerate(settings.levels):
                fraction = float(np.mean(bin_.fraction[i, columns])) if bin_.simulations else np.nan
                error = np.sqrt(level * (1 - level) / max(bin_.simulations, 1))
                rows.append((kind, low, high, bin_.simulations, level, fraction, float(error)))
    return Table(
        rows=rows, names=("kind", "snr_low", "snr_high", "pairs", "level", "coverage", "binomial_error")
    )


def rank_table(
    names: tuple[str, ...],
    draws: Float[np.ndarray, "pair draw summary"],
    truth: Float[np.ndarray, "pair summary"],
    rng: np.random.Generator,
) -> Table:
    """Return uniformity of ranks and CRPS of each summary; p-values are NaN where pairs are too few.

    Parameters
    ----------
    names
        Of the summaries.
    draws, truth
        Their values.
    rng
        Orders equal values and simulates uniform ranks.
    """
    found = ranks(draws, truth, rng)
    score = crps(draws, truth)
    chi2 = ecdf = np.full(len(names), np.nan)
    if len(truth) >= 10:  # five in each of two bins
        test = uniformity(found, draws.shape[1], rng)
        chi2, ecdf = test.chi2_pvalue, test.ecdf_pvalue
    mean_rank = (found.mean(axis=0) + 0.5) / (draws.shape[1] + 1)
    return Table(
        [names, mean_rank, chi2, ecdf, score.excess],
        names=("summary", "mean_rank", "chi2_pvalue", "ecdf_pvalue", "crps_excess"),
    )


def _kinds(names: tuple[str, ...]) -> dict[str, list[int]]:
    return {
        kind: found
        for kind, starts in KINDS.items()
        if (found := [i for i, name in enumerate(names) if name.startswith(starts)])
    }


def _page(
    settings: CalibrationSettings,
    outcomes: list[Outcome],
    coverage: Table,
    by_rank: Table,
    together: TARP,
) -> str:
    levels = settings.levels
    lines = [
        f"# Calibration campaign `{settings.name}`",
        "",
        f"{len(outcomes)} pairs, {settings.draws} draws each, prior `{settings.prior}`, truths: "
        f"{'draws of the prior' if settings.truths == 'prior' else 'mocks'}; sampler "
        f"`{settings.sampler.model_dump(exclude_defaults=True) or 'default'}`.",
        "",
        "| summaries | S/N | pairs | " + " | ".join(f"in {level:.0%}" for level in levels) + " |",
        "| --- " * (3 + len(levels)) + "|",
    ]
    for row in coverage[:: len(levels)]:
        same = coverage[(coverage["kind"] == row["kind"]) & (coverage["snr_low"] == row["snr_low"])]
        same = same[same["snr_high"] == row["snr_high"]]
        shares = [f"{r['coverage']:.3f} ± {r['binomial_error']:.3f}" for r in same]
        lines.append(
            f"| {row['kind']} | {row['snr_low']:g} to {row['snr_high']:g} | {row['pairs']} | "
            + " | ".join(shares)
            + " |"
        )
    chi2 = np.array([o.chi2 for o in outcomes])
    rate, expected = (np.mean([getattr(o, name) for o in outcomes], axis=0).mean(axis=1)
                      for name in ("false_rate", "false_expected"))  # fmt: skip
    bad = float(np.mean(by_rank["ecdf_pvalue"] < 0.01))
    lines += [
        "",
        f"- TARP over all summaries: largest deviation {together.deviation:.3f}; exact posteriors stay "
        f"within {together.band:.3f} in 95 % of campaigns (p = {together.pvalue:.3f}).",
        f"- Ranks: {bad:.1%} of summaries have p < .01 (1 % expected); worst "
        f"{by_rank['summary'][int(np.nanargmin(by_rank['ecdf_pvalue']))]}."
        if np.isfinite(by_rank["ecdf_pvalue"]).any()
        else "- Ranks: too few pairs for a test.",
        f"- chi2 per pixel: median {np.median(chi2):.3f}, 5 to 95 %: {np.quantile(chi2, 0.05):.3f} to "
        f"{np.quantile(chi2, 0.95):.3f}.",
        "- False structures of the mean per square arcsecond, at 0.1, 0.2 and 0.4 arcsec: "
        + ", ".join(f"{a:.3f} (expected {b:.3f})" for a, b in zip(rate, expected, strict=True))
        + ".",
        f"- Draws made again: {sum(o.redone for o in outcomes)}. Seconds per pair: "
        f"{np.median([o.seconds for o in outcomes]):.1f}.",
        "",
        "![Ranks and coverage](calibration.png)",
        "",
    ]
    return "\n".join(lines)


def _figure(
    names: tuple[str, ...],
    draws: Float[np.ndarray, "pair draw summary"],
    truth: Float[np.ndarray, "pair summary"],
    coverage: Table,
    together: TARP,
    rng: np.random.Generator,
) -> Figure:
    """Draw rank histograms by kind, coverage by S/N, and TARP."""
    kinds = _kinds(names)
    figure = Figure(figsize=(3.2 * len(kinds), 6.4), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False)
    found, count = ranks(draws, truth, rng), draws.shape[1] + 1
    edges = np.arange(count + 1) / count
    for axis, (kind, columns) in zip(axes[0], kinds.items(), strict=True):
        histogram = np.bincount(found[:, columns].ravel(), minlength=count) * count
        axis.stairs(histogram / found[:, columns].size, edges, fill=True, color="tab:blue", alpha=0.6)
        axis.axhline(1.0, color="black", lw=0.8)
        axis.set(title=kind, xlabel="rank of the truth", ylim=(0.0, None))
    axes[0, 0].set_ylabel("density")
    for axis, kind in zip(axes[1], kinds, strict=True):
        of_kind = coverage[coverage["kind"] == kind]
        axis.plot([0, 1], [0, 1], color="black", lw=0.8)
        for low, high in dict.fromkeys(zip(of_kind["snr_low"], of_kind["snr_high"], strict=True)):
            rows = of_kind[(of_kind["snr_low"] == low) & (of_kind["snr_high"] == high)]
            axis.errorbar(
                rows["level"], rows["coverage"], rows["binomial_error"], marker="o", ms=3, lw=1,
                label=f"S/N {low:g} to {high:g}",
            )  # fmt: skip
        axis.set(xlabel="level", xlim=(0, 1), ylim=(0, 1))
    axes[1, 0].set_ylabel("coverage")
    axes[1, 0].legend(fontsize=6)
    axes[1, -1].plot(together.levels, together.expected_coverage, color="tab:red", lw=1)
    axes[1, -1].set_title("and TARP (red)", fontsize=8)
    return figure
