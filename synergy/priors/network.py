"""The size of a denoising network, and what its weights are: all that must be known without building it."""

import dataclasses

from jaxtyping import Array

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
    """

    bands: int
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: int = 2
    patch: int = 2
    embedding: int = 64
    data_std: float = 0.5

    @property
    def multiple(self) -> int:
        """Height and width of a scene must be multiples of this."""
        return self.patch * 2 ** (len(self.widths) - 1)
