"""Bad input through the command line: a clear message, exit status 2, and nothing written."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from astropy.io import fits

from synergy import cli
from synergy.survey import SCENE_BANDS

SIZE = 48


def write_mer(path, bands=("NIR_J", "NIR_H"), **changes):
    """Write a small Euclid MER cutout; `changes` spoil its second band."""
    rng = np.random.default_rng(0)
    y, x = np.indices((21, 21)) - 10
    psf = np.exp(-(y**2 + x**2) / 8.0)
    hdus = [fits.PrimaryHDU()]
    for number, band in enumerate(bands):
        spoil = changes if number == 1 else {}
        header = fits.Header(
            {
                "CTYPE1": "RA---TAN",
                "CTYPE2": "DEC--TAN",
                "CRVAL1": 60.0 + spoil.get("move", 0.0),
                "CRVAL2": -50.0,
                "CRPIX1": 24.5,
                "CRPIX2": 24.5,
                "CD1_1": -0.1 / 3600,
                "CD1_2": 0.0,
                "CD2_1": 0.0,
                "CD2_2": 0.1 / 3600,
                "MAGZERO": 30.0,
            }
        )
        for key in spoil.get("drop_cards", ()):
            del header[key]
        image = rng.normal(size=(SIZE, SIZE)) * spoil.get("image", 1.0)
        rms = np.ones((SIZE, SIZE)) * spoil.get("rms", 1.0)
        parts = {"FLUX": (image, header), "PSF": (spoil.get("psf", psf), None), "RMS": (rms, None)}
        hdus += [
            fits.ImageHDU(data.astype(np.float32), cards, name=f"{band}_{part}")
            for part, (data, cards) in parts.items()
            if part not in spoil.get("drop_hdus", ())
        ]
    fits.HDUList(hdus).writeto(path)
    return path


def missing_file(folder):
    return folder / "cutout.fits"


def truncated(folder):
    path = write_mer(folder / "cutout.fits")
    path.write_bytes(path.read_bytes()[:20000])
    return path


def no_fits(folder):
    path = folder / "cutout.fits"
    path.write_text("<html>login required</html>")
    return path


def unknown_layout(folder):
    path = folder / "cutout.fits"
    fits.writeto(path, np.zeros((8, 8)))
    return path


def unknown_band(folder):
    write_mer(folder / "cutout.fits")
    image = {
        "band": "spitzer.I1",
        "image": {"file": "cutout.fits", "hdu": 1},
        "psf": {"file": "cutout.fits", "hdu": 2},
        "noise": {"rms": {"file": "cutout.fits", "hdu": 3}},
        "zeropoint": 30.0,
    }
    path = folder / "field.yaml"
    path.write_text(yaml.safe_dump({"images": [image]}))
    return path


def spoiled(**changes):
    return lambda folder: write_mer(folder / "cutout.fits", **changes)


CASES = {
    "missing file": (missing_file, "no such file"),
    "missing PSF": (spoiled(drop_hdus=["PSF"]), "NIR_H_PSF"),
    "missing RMS": (spoiled(drop_hdus=["RMS"]), "NIR_H_RMS"),
    "no zero point": (spoiled(drop_cards=["MAGZERO"]), "MAGZERO"),
    "NaN everywhere": (spoiled(image=np.nan), "NaN"),
    "no information": (spoiled(rms=1e16), "no pixel with information"),
    "PSF larger than the image": (spoiled(psf=np.ones((SIZE + 2, SIZE + 2))), "no larger than the image"),
    "PSF that sums to zero": (spoiled(psf=np.zeros((21, 21))), "sum"),
    "PSF with NaN": (spoiled(psf=np.full((21, 21), np.nan)), "finite"),
    "WCS without scale": (spoiled(drop_cards=["CD1_1", "CD1_2", "CD2_1", "CD2_2"]), "scale"),
    "no WCS": (spoiled(drop_cards=["CTYPE1", "CTYPE2"]), "celestial"),
    "no overlap": (spoiled(move=0.1), "overlap"),
    "unknown band": (unknown_band, "spitzer.I1"),
    "truncated FITS": (truncated, "truncated"),
    "no FITS at all": (no_fits, "damaged"),
    "unknown layout": (unknown_layout, "euclid-mer, manifest"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    make, complaint = CASES[case]
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = make(tmp_path / "in")
    monkeypatch.setattr(
        "synergy.priors.diffusion.load_prior", lambda name: SimpleNamespace(bands=SCENE_BANDS)
    )
    out = tmp_path / "out" / "posterior.fits"
    monkeypatch.setattr(sys, "argv", ["synergy", "reconstruct", str(path), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert complaint in message
    for part in ("error:", "found:", "expected:", "remedy:"):
        assert part in message
    assert "cutout.fits" in message or "spitzer" in message
    assert "Traceback" not in message
    assert not list((tmp_path / "out").iterdir())


def test_cutout_off_the_image(tmp_path, monkeypatch, capsys):
    path = write_mer(tmp_path / "cutout.fits")
    arguments = [
        "reconstruct",
        str(path),
        "--out",
        str(tmp_path / "o.fits"),
        "--center",
        "60.1,-50",
        "--size",
        "3",
    ]
    monkeypatch.setattr(sys, "argv", ["synergy", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "beyond the image" in capsys.readouterr().err
    assert not (tmp_path / "o.fits").exists()


@pytest.mark.parametrize(
    ("disc", "complaint"), [("60.1,-50", "RA,DEC,RADIUS"), ("60.1,-50,1", "no usable pixel")]
)
def test_mask_that_is_no_disc_or_off_the_images(disc, complaint, tmp_path, monkeypatch, capsys):
    path, out = write_mer(tmp_path / "cutout.fits"), tmp_path / "o.fits"
    monkeypatch.setattr(sys, "argv", ["synergy", "reconstruct", str(path), "--out", str(out), "--mask", disc])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()
