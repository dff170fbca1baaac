"""The parts of a training run; `synergy.train` puts them together."""
