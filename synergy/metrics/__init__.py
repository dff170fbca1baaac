"""How good is an estimate: images, photometry, calibration."""
