"""Steps of a pipeline that generates: which draws, and the way back to the data."""

import warnings
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from .._arrays import container_of
from ..base import BaseTorchEstimator

Steps = list[tuple[str, Any]]


def steps_of(estimator: Any) -> Steps:
    """Return named steps, nested pipelines laid out flat and passthroughs left out."""
    if not isinstance(estimator, Pipeline):
        return [(type(estimator).__name__.lower(), estimator)]
    flat: Steps = []
    for name, step in estimator.steps:
        if isinstance(step, Pipeline):
            flat += [(f"{name}__{inner}", it) for inner, it in steps_of(step)]
        elif step is not None and not isinstance(step, str):
            flat.append((name, step))
    return flat


def label_of(name: str, step: Any) -> str:
    """Return what errors call a step."""
    return f"{name!r} ({type(step).__name__})"


def can_draw(estimator: Any) -> bool:
    """Return whether the last step has `sample`."""
    steps = steps_of(estimator)
    return bool(steps) and callable(getattr(steps[-1][1], "sample", None))


def require_sample(estimator: Any) -> None:
    """Raise an AttributeError that says why there is no `sample`, where there is none.

    The last step must draw, and all steps before it must lead back to the data.
    """
    if not can_draw(estimator):
        steps = steps_of(estimator)
        last = f", {label_of(*steps[-1])}, has none" if steps else " is missing"
        raise AttributeError(
            f"sample needs a last step that draws, but the last step{last}. LatentGAN "
            f"and scikit-learn's GaussianMixture and KernelDensity do."
        )
    for name, step in steps_of(estimator)[:-1]:
        reason = why_not_invertible(step)
        if reason:
            raise AttributeError(
                f"sample needs steps that lead back to the data, but step "
                f"{label_of(name, step)} cannot be inverted: {reason}"
            )


def why_not_invertible(step: Any) -> str:
    """Return why the transform of `step` has no way back, or "" where it has one."""
    if not hasattr(step, "inverse_transform"):
        return (
            "it has no method inverse_transform. Replace it by a step that has, such "
            "as StandardScaler, PCA or AutoencoderManifold, or transform X beforehand."
        )
    if isinstance(step, FunctionTransformer):
        # Its inverse_transform returns its input unchanged where no inverse is given.
        if step.func is not None and step.inverse_func is None:
            return "it was given func without inverse_func. Set inverse_func."
    if getattr(step, "fit_inverse_transform", True) is False:
        return "it learns an inverse only with fit_inverse_transform=True. Set it."
    return ""


def invert(steps: Steps, rows: Any) -> Any:
    """Return `rows` of the last step's input taken back to the data."""
    if steps and container_of(rows) is not None:
        rows = np.asarray(rows)
    for name, step in reversed(steps):
        if type(step).__module__.split(".")[0] == "umap":
            warnings.warn(
                f"Step {label_of(name, step)} solves an optimisation for each row that "
                f"it inverts: slow, and only near the training data about right. "
                f"AutoencoderManifold learns the way back.",
                UserWarning,
                stacklevel=3,
            )
        if not isinstance(step, BaseTorchEstimator):
            rows = rows.astype(np.float64, copy=False)  # a scaler adds its mean back
        try:
            rows = step.inverse_transform(rows)
        except Exception as error:
            error.add_note(f"While inverting step {label_of(name, step)}.")
            raise
    return rows
