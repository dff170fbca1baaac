"""Blends made by BlendingToolKit, timed on request: the other side of `mock_throughput.py`.

Run by ``mock_throughput.py --btk-python PYTHON`` in an environment that has blending_toolkit (1.0.9 when this
was written); it needs nothing of ours. The arguments are a CatSim catalogue, the side of the stamps in
arcsec, the number of galaxies per blend and the number of blends. Every line on standard input asks for the
blends in VIS and in LSST's six bands, with all noise; the answer is the processor time per blend in
milliseconds.

CatSim holds no VIS magnitudes: r stands for them. PSFs are those that BlendingToolKit comes with.
"""

import sys
import time
from importlib.metadata import version

import btk
import numpy as np
from astropy.table import Table


def main() -> None:
    """Prepare the generator, then time a batch per line of input."""
    path, stamp, galaxies, blends = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    table = Table.read(path)
    table["IE_ab"] = table["r_ab"]
    # One generator per survey: drawing two at once fails in version 1.0.9.
    generators = [
        btk.draw_blends.CatsimGenerator(
            btk.catalog.CatsimCatalog(table),
            btk.sampling_functions.DefaultSampling(
                stamp_size=stamp,
                max_number=galaxies,
                min_number=galaxies,
                max_shift=0.45 * stamp,
                max_mag=27.0,
            ),
            btk.survey.get_surveys(survey),
            batch_size=blends,
            njobs=1,
            add_noise="all",
        )
        for survey in ("Euclid_VIS", "LSST")
    ]
    for generator in generators:
        next(generator)
    print(version("blending_toolkit"), flush=True)  # noqa: T201
    for _ in sys.stdin:
        start = time.process_time()
        batches = [next(generator) for generator in generators]
        spent = time.process_time() - start
        assert all(np.any(batch.blend_images) for batch in batches)
        print(1e3 * spent / blends, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
