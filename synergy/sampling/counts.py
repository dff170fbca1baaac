"""What a draw costs, in units that do not depend on the machine.

Three things cost time: evaluations of the prior's network, its vector-Jacobian products (each about twice an
evaluation), and applications of the instruments' operators or their adjoints. All numbers of steps are fixed
in advance, so counting is arithmetic: posterior denoisers say what one call costs, and this adds it up.
"""

import dataclasses
from typing import Protocol, runtime_checkable

from synergy.sampling.split_gibbs import DEGREE
from synergy.sampling.tweedie import STEPS


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of costly operations.

    Parameters
    ----------
    evaluations
        Of the network.
    vjps
        Vector-Jacobian products of the network.
    applications
        Of all images' operators ``A``, or of their adjoints.
    """

    evaluations: int = 0
    vjps: int = 0
    applications: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Return both together."""
        return Counts(
            self.evaluations + other.evaluations,
            self.vjps + other.vjps,
            self.applications + other.applications,
        )

    def __rmul__(self, times: int) -> "Counts":
        """Return so many times as much."""
        return Counts(times * self.evaluations, times * self.vjps, times * self.applications)


@runtime_checkable
class Costed(Protocol):
    """A posterior denoiser that says what a call costs."""

    @property
    def cost(self) -> Counts:
        """What one call costs."""
        ...


def of_reverse(denoiser: Costed, integrator: str, steps: int) -> Counts:
    """Return the cost of a draw by reverse diffusion.

    Parameters
    ----------
    denoiser
        Posterior denoiser.
    integrator
        Name in `synergy.sampling.integrators.INTEGRATORS`.
    steps
        Its steps.
    """
    call = denoiser.cost
    if integrator == "heun":
        return (2 * steps - 1) * call  # the last step, to sigma = 0, is one of Euler's
    if integrator == "ancestral_drawn":
        return steps * (call + Counts(applications=1))
    if integrator == "ancestral_tweedie":
        # A product with the Jacobian of the posterior denoiser passes through network and data once more.
        backward = Counts(0, call.evaluations + call.vjps, call.applications)
        return steps * (call + STEPS * backward)
    return steps * call


def of_sweeps(sweeps: int, inner_steps: int) -> Counts:
    """Return the cost of sweeps of split Gibbs with deflated noise.

    Parameters
    ----------
    sweeps
        Their number.
    inner_steps
        Denoiser evaluations per sweep.
    """
    return sweeps * Counts(inner_steps, 0, 2 + 2 * DEGREE)
