"""Posterior sampling: integrators that know a denoiser, and denoisers that know the data."""
