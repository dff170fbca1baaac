"""Campaigns that ask whether posteriors are calibrated: reconstructions of scenes whose truth is known."""
