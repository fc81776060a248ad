"""Draw from any fitted generator: ours, or one of scikit-learn as it is."""

import copy
from inspect import signature
from typing import Any

import numpy as np

from .._random import draw_seed, isolated_streams


def draw_rows(
    generator: Any, n_samples: int, y: Any, rng: np.random.RandomState, role: str
) -> Any:
    """Return exactly `n_samples` rows in random order, or in the order of `y`.

    `role` is what errors call the generator.
    """
    arguments: dict[str, Any] = {}
    if y is not None:
        if "y" not in signature(generator.sample).parameters:
            raise ValueError(
                f"y must be None, because the {role} does not draw by label. One that "
                "does is LatentGAN(conditional=True)."
            )
        arguments["y"] = y
    try:
        rows = _sample_seeded(generator, n_samples, rng, arguments)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"The {role}, {generator!r}, cannot draw with these parameters. "
            "KernelDensity draws with kernel='gaussian' or 'tophat'."
        ) from error
    if isinstance(rows, tuple):
        rows = rows[0]
        if y is None:  # GaussianMixture gives its components one after the other.
            rows = rows[rng.permutation(len(rows))]
    if len(rows) != n_samples:
        raise RuntimeError(
            f"The {role} drew {len(rows)} rows where n_samples={n_samples} were asked "
            "of it."
        )
    return rows


def _sample_seeded(
    generator: Any,
    n_samples: int,
    rng: np.random.RandomState,
    arguments: dict[str, Any],
) -> Any:
    """Call `sample` so that all its randomness comes from `rng`."""
    if "random_state" in signature(generator.sample).parameters:
        return generator.sample(n_samples, random_state=rng, **arguments)
    if hasattr(generator, "random_state"):
        generator = copy.copy(generator)
        generator.random_state = rng
        if getattr(generator, "covariance_type", None) in ("full", "tied"):
            # of float32 rows they are symmetric to float32, which numpy warns of
            exact = generator.covariances_.astype(np.float64)
            generator.covariances_ = (exact + np.swapaxes(exact, -1, -2)) / 2
        return generator.sample(n_samples, **arguments)
    with isolated_streams(draw_seed(rng)):
        return generator.sample(n_samples, **arguments)
