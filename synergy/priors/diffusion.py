"""The diffusion prior: a trained denoiser together with everything needed to use it.

A prior is a directory with two files: ``prior.safetensors`` (arrays: network weights, band scales,
covariance) and ``prior.json`` (the card: bands, pixel scale, network and schedule settings, how it was
trained, what it is not good for). Loading checks that the arrays are those the card was written for.
Nothing is unpickled.
"""

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from synergy.errors import InputError
from synergy.io.atomic import write_bytes
from synergy.priors.convolution import Precision, precision_here
from synergy.priors.covariance import SpectralCovariance
from synergy.priors.network import Params, UNetConfig
from synergy.priors.schedule import NoiseSchedule
from synergy.priors.variance import VarianceCorrection

ARRAYS, CARD = "prior.safetensors", "prior.json"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiffusionPrior:
    """A diffusion prior of multiband scenes in normalised units ``u = x / (scale * band_scale)``.

    Parameters
    ----------
    params
        Network weights.
    band_scale
        Flux of each band relative to the scene's scale, ``(band,)``.
    covariance
        Stationary covariance of ``u`` over the training scenes.
    network, schedule
        Settings of network and noise levels.
    bands
        Names of the scene's bands.
    pixel_scale
        Scene pixel scale in arcsec.
    scale_floor
        Smallest flux scale (nJy/pixel) that training scenes were divided by.
    id
        Name and content hash.
    correction
        Correction of the variances that the network states; None if it states none.
    """

    params: Params
    band_scale: Float[Array, " band"]
    covariance: SpectralCovariance
    network: UNetConfig = dataclasses.field(metadata={"static": True})
    schedule: NoiseSchedule = dataclasses.field(metadata={"static": True})
    bands: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    pixel_scale: float = dataclasses.field(metadata={"static": True})
    scale_floor: float = dataclasses.field(metadata={"static": True})
    id: str = dataclasses.field(metadata={"static": True})
    correction: VarianceCorrection | None = None

    def __call__(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> Float[Array, "draw band y x"]:
        """Denoise scenes in normalised units (see `synergy.priors.denoiser.Denoiser`)."""
        from synergy.priors.unet import (
            make_unet,  # Haiku is imported where a network runs, not with the package
        )

        _, apply = make_unet(self.network)
        return apply(self.params, noisy, jnp.full(noisy.shape[0], sigma, noisy.dtype))

    def with_variance(
        self, noisy: Float[Array, "draw band y x"], sigma: Float[Array, ""]
    ) -> tuple[Float[Array, "draw band y x"], Float[Array, "draw mode y x"]]:
        """Denoise scenes, and state the variance of the error's coefficients.

        Their basis is that of `synergy.priors.basis`, with the modes of `covariance.basis` and the network's
        patch.

        Raises
        ------
        InputError
            If the prior has no calibrated variances, or a side is not a multiple of the patch.
        """
        from synergy.priors.unet import make_unet_with_variance

        patch = self.network.patch
        if self.correction is None or any(side % patch for side in noisy.shape[-2:]):
            have = "none" if self.correction is None else f"those of blocks of {patch} pixels"
            raise InputError(
                f"prior {self.id}",
                f"{have}, for scenes of {noisy.shape[-2]}x{noisy.shape[-1]} pixels",
                "variances of errors, and sides that are multiples of the block",
                "Use a prior trained with `variance: true`, and a scene whose sides its blocks divide.",
            )
        _, apply = make_unet_with_variance(self.network)
        mean, log_variance = apply(self.params, noisy, jnp.full(noisy.shape[0], sigma, noisy.dtype))
        return mean, self.correction.apply(log_variance, sigma)

    def save(self, folder: Path, card: dict[str, Any]) -> None:
        """Write the prior to a directory; `card` adds to the fields that loading needs.

        Raises
        ------
        FloatingPointError
            If a weight cannot be stored in half precision, which means that training has diverged.
        """
        largest = max(float(jnp.max(jnp.abs(v))) for group in self.params.values() for v in group.values())
        if not largest < float(np.finfo(np.float16).max):
            raise FloatingPointError(
                f"{folder}: a weight has grown to {largest:.3g}, the network has diverged; the state of the "
                "last checkpoint is kept"
            )
        tensors = {
            f"net|{module}|{name}": np.asarray(
                value, np.float16
            )  # a relative 5e-4, far below the network's own error
            for module, group in self.params.items()
            for name, value in group.items()
        }
        tensors |= {"band_scale": self.band_scale}
        tensors |= {
            f"covariance|{f.name}": getattr(self.covariance, f.name)
            for f in dataclasses.fields(self.covariance)
        }
        if self.correction is not None:
            tensors |= {
                f"correction|{f.name}": getattr(self.correction, f.name)
                for f in dataclasses.fields(self.correction)
            }
        data = format_tensors({k: np.ascontiguousarray(v) for k, v in tensors.items()})
        fields = {
            "format": "synergy-prior-3",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bands": list(self.bands),
            "pixel_scale": self.pixel_scale,
            "scale_floor": self.scale_floor,
            "network": dataclasses.asdict(self.network),
            "schedule": dataclasses.asdict(self.schedule),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / ARRAYS, data)
        write_bytes(folder / CARD, json.dumps(fields | card, indent=2).encode())


def prior_folder(name: str | Path) -> Path:
    """Return the directory of a prior: a path, or the name of one that ships with the package."""
    path = Path(name)
    if path.is_dir():
        return path
    shipped = Path(str(resources.files("synergy.priors") / "weights"))
    known = sorted(p.name for p in shipped.iterdir() if (p / CARD).is_file())
    if str(name) in known:
        return shipped / str(name)
    raise InputError(
        name,
        "neither a directory nor the name of a shipped prior",
        f"one of {known} or a directory with {CARD}",
        "Train one with `synergy train`, or use 'default'.",
    )


def read_card(name: str | Path) -> dict[str, Any]:
    """Read the card of a prior.

    Raises
    ------
    InputError
        If there is no card or it is not one of ours.
    """
    path = prior_folder(name) / CARD
    try:
        card = json.loads(path.read_text())
        found = card["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            path,
            str(error) or type(error).__name__,
            "the JSON card of a prior",
            "Check the path, or train the prior again.",
        ) from error
    if found != "synergy-prior-3":
        raise InputError(
            path, f"format {found!r}", "'synergy-prior-3'", "Use the version of synergy that wrote it."
        )
    return card


def load_prior(name: str | Path = "default", precision: Precision | None = None) -> DiffusionPrior:
    """Load a diffusion prior.

    Parameters
    ----------
    name
        ``"default"`` or ``"fast"``, which ship with the package, or a directory written by `synergy train`.
    precision
        Numbers that the network multiplies; if None, those of its training, or float32 where a processor
        would only imitate them (`synergy.priors.convolution.precision_here`).

    Raises
    ------
    InputError
        If there is no such prior, or its arrays are damaged or not those of the card.
    """
    folder, card = prior_folder(name), read_card(name)
    path = folder / ARRAYS
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != card["sha256"]:
            raise InputError(
                path,
                f"sha256 {digest[:12]}",
                f"{card['sha256'][:12]} as in {CARD}",
                "The file is damaged or belongs to another card; copy both again.",
            )
        tensors = parse_tensors(data)
    except (OSError, SafetensorError) as error:
        raise InputError(
            path, str(error), "the arrays of a prior", "Copy the prior's directory again."
        ) from error
    params: Params = {}
    for key, value in tensors.items():
        if key.startswith("net|"):
            _, module, leaf = key.split("|")
            params.setdefault(module, {})[leaf] = jnp.asarray(value, jnp.float32)
    names = [f.name for f in dataclasses.fields(SpectralCovariance)]
    correction = {
        f.name: jnp.asarray(tensors[key])
        for f in dataclasses.fields(VarianceCorrection)
        if (key := f"correction|{f.name}") in tensors
    }
    network = UNetConfig(**card["network"] | {"widths": tuple(card["network"]["widths"])})
    return DiffusionPrior(
        params=params,
        band_scale=jnp.asarray(tensors["band_scale"], jnp.float32),
        covariance=SpectralCovariance(
            **{n: jnp.asarray(tensors[f"covariance|{n}"], jnp.float32) for n in names}
        ),
        network=dataclasses.replace(network, precision=precision or precision_here(network.precision)),
        schedule=NoiseSchedule(**card["schedule"]),
        bands=tuple(card["bands"]),
        pixel_scale=float(card["pixel_scale"]),
        scale_floor=float(card["scale_floor"]),
        id=f"{folder.name}:{card['sha256'][:12]}",
        correction=VarianceCorrection(**correction) if correction else None,
    )
