"""Denoisers: what the prior knows of scenes, and nothing of observations."""
