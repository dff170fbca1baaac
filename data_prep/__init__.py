"""Simulations to galaxies to scenes to mock observations; imports `synergy`, never the reverse."""
