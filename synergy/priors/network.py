"""The size of a denoising network, and what its weights are: all that must be known without building it."""

import dataclasses
from typing import Literal

from jaxtyping import Array

from synergy.priors.convolution import Precision

Params = dict[str, dict[str, Array]]
"""Weights by module and name."""


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Size of the network.

    Parameters
    ----------
    bands
        Number of bands of a scene.
    widths
        Channels at each level; every further level halves the resolution.
    blocks
        Residual blocks per level, on the way down and on the way up.
    patch
        Factor of the initial space-to-depth.
    embedding
        Width of the noise-level embedding.
    data_std
        Standard deviation of the normalised scenes' pixels, the ``s`` of the preconditioning.
    block
        ``"dense"``: two 3x3 convolutions; ``"separable"``: one 3x3 convolution of each channel by itself and
        two 1x1 convolutions with four times the channels between them (ConvNeXt, Liu et al. 2022).
    companded
        Whether the bands enter as ``asinh`` at several scales, too, not as scaled values alone.
    attention
        Whether the coarsest level ends with self-attention over the image.
    rank
        Number of spectral components whose maps the heads make, to be mixed into bands by learned
        weights; 0 for maps of each band.
    unit_weights
        Whether the weights of each output channel are kept at unit norm (Karras et al. 2024, EDM2, sec. 2.4).
    precision
        Numbers that convolutions multiply (see `synergy.priors.convolution`); all else is float32.
    variance
        Whether the network also estimates the variance of what it leaves open.
    """

    bands: int
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: int = 2
    patch: int = 2
    embedding: int = 64
    data_std: float = 0.5
    block: Literal["dense", "separable"] = "dense"
    companded: bool = True
    attention: bool = False
    rank: int = 0
    unit_weights: bool = False
    precision: Precision = "float32"
    variance: bool = False

    @property
    def multiple(self) -> int:
        """The network works on heights and widths that are multiples of this, and extends scenes to them."""
        return self.patch * 2 ** (len(self.widths) - 1)
