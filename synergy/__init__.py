"""synergy: one sharp multiband scene from Euclid and ground-based images, with honest errors.

>>> prior = synergy.load_prior("default")
>>> observations = synergy.read_observations("cutout.fits")
>>> posterior = synergy.reconstruct(observations, prior, key=0, draws=16)
>>> posterior.write("posterior.fits")
"""

from synergy.errors import InputError as InputError
from synergy.frame import Frame as Frame
from synergy.io.read import read_observations as read_observations
from synergy.likelihood import GaussianLikelihood as GaussianLikelihood
from synergy.noise import Diagonal as Diagonal
from synergy.observation import Observation as Observation
from synergy.observation import mask_disc as mask_disc
from synergy.operators import Operator as Operator
from synergy.posterior import Posterior as Posterior
from synergy.priors.diffusion import DiffusionPrior as DiffusionPrior
from synergy.priors.diffusion import load_prior as load_prior
from synergy.psf import PSF as PSF
from synergy.reconstruct import SamplerSettings as SamplerSettings
from synergy.reconstruct import reconstruct as reconstruct
from synergy.stationary import Stationary as Stationary
from synergy.varying_psf import PSFTerm as PSFTerm
from synergy.varying_psf import VaryingPSF as VaryingPSF
