"""Classical methods, each with the same view of the data: `method(observations, frame, bands)`."""
