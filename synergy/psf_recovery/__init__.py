"""The oversampled effective PSF behind stamps that undersample it or clip its wings."""

from synergy.psf_recovery.recovery import OVERSAMPLING as OVERSAMPLING
from synergy.psf_recovery.recovery import SIGNIFICANCE as SIGNIFICANCE
from synergy.psf_recovery.recovery import RecoveredPSF as RecoveredPSF
from synergy.psf_recovery.recovery import recover as recover
from synergy.psf_recovery.telescopes import telescope as telescope
