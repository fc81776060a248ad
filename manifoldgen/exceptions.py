"""Errors and warnings that scikit-learn has no class for."""


class TrainingDivergedError(RuntimeError):
    """The loss left every bound, and smaller steps did not bring it back."""


class DeviceWarning(UserWarning):
    """The wanted device is not here, and the CPU is used."""


class CollapseWarning(UserWarning):
    """Samples are worse than those of one Gaussian, or latents tell nothing of rows."""


class ConstraintWarning(UserWarning):
    """A constraint is not kept; what broke it least is."""
