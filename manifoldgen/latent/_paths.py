"""Ways through latent space, decoded: paths between rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._validation import check_choice, check_int
from ._coordinates import coordinates, invertible_part

# Of a smaller sine between two latents, rounding alone picks the plane of the arc.
_LEAST_SINE = 1e-6


def interpolate(
    manifold: Any, a: Any, b: Any, n: int = 10, *, method: str = "linear"
) -> Any:
    """Return rows of data on a path through latent space between two rows.

    Both are transformed, the path is laid between their coordinates, and its points
    are transformed back: what is in between stays on the manifold, where a mean of
    the rows themselves would leave it.

    Parameters
    ----------
    manifold : manifold or Pipeline, fitted
        With `transform` and `inverse_transform`; a last step of a Pipeline that only
        generates is left out.
    a, b : array-like of shape (n_features,), an image as `fit` saw it, or several
        The two ends, of one shape. Several pairs have one axis more in front, such
        as (m, n_features); a data frame holds several.
    n : int, default=10
        Rows on a path, both ends included; >= 2.
    method : {"linear", "spherical"}, default="linear"
        As in `interpolate_latents`.

    Returns
    -------
    X : ndarray of shape (n, n_features) or (m, n, n_features)
        From the reconstruction of `a` to that of `b`, each row in the layout of
        `inverse_transform`.

    Raises
    ------
    TypeError
        If `manifold` cannot go there and back, or `n` is no int.
    ValueError
        If `a` and `b` differ in shape, ``n < 2``, or `method` is unknown.

    See Also
    --------
    interpolate_latents : The path between two latent coordinates.

    Examples
    --------
    >>> from manifoldgen import interpolate
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, _ = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> interpolate(pca, X[0], X[1], 5).shape
    (5, 64)
    >>> interpolate(pca, X[:3], X[3:6], 5, method="spherical").shape
    (3, 5, 64)
    """
    there_and_back = invertible_part(manifold)
    path, single = latent_paths(there_and_back, a, b, n, method)
    rows = there_and_back.inverse_transform(path.reshape(-1, path.shape[-1]))
    if single:
        return rows
    rows = np.asarray(rows)
    return rows.reshape(*path.shape[:2], *rows.shape[1:])


def interpolate_latents(
    z_a: Any, z_b: Any, n: int = 10, *, method: str = "linear"
) -> NDArray[Any]:
    """Return points on a path between latent coordinates.

    "linear" is the straight line. "spherical" is the arc of [1]_ about the origin,
    with the norm going evenly from one to the other, as in [2]_: where latents follow
    a normal distribution of many dimensions, the middle of a straight line is nearer
    to the origin than any of them. It needs latents that are centred there. Latents
    of the same or of opposite directions, or without one, have no arc of their own:
    between them the path is straight.

    Parameters
    ----------
    z_a, z_b : array-like of shape (n_components,) or (m, n_components)
        The two ends, or those of m paths.
    n : int, default=10
        Points on a path, both ends included; >= 2.
    method : {"linear", "spherical"}, default="linear"

    Returns
    -------
    path : ndarray of shape (n, n_components) or (m, n, n_components)
        Float32 where both ends are, else float64. It begins with `z_a` and ends with
        `z_b`, exactly.

    Raises
    ------
    ValueError
        If the ends differ in shape or hold NaN, ``n < 2``, or `method` is unknown.

    References
    ----------
    .. [1] K. Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    .. [2] T. White, "Sampling generative networks", 2016, arXiv:1609.04468.
       We apply it to directions and let the norm go evenly.

    Examples
    --------
    >>> from manifoldgen import interpolate_latents
    >>> interpolate_latents([2.0, 0.0], [0.0, 2.0], 3)
    array([[2., 0.],
           [1., 1.],
           [0., 2.]])
    >>> interpolate_latents([2.0, 0.0], [0.0, 2.0], 3, method="spherical").round(3)
    array([[2.   , 0.   ],
           [1.414, 1.414],
           [0.   , 2.   ]])
    """
    n = check_int("n", n, 2)
    check_choice("method", method, ("linear", "spherical"))
    single = np.ndim(z_a) == 1
    start, end = (
        check_array(np.atleast_2d(z), dtype=[np.float64, np.float32], input_name=name)
        for name, z in (("z_a", z_a), ("z_b", z_b))
    )
    if np.shape(z_a) != np.shape(z_b):
        raise ValueError(
            f"z_a and z_b must have the same shape, got {np.shape(z_a)} and "
            f"{np.shape(z_b)}."
        )
    share = np.linspace(0.0, 1.0, n)[:, None]
    a, b = start[:, None].astype(np.float64), end[:, None].astype(np.float64)
    path = (1.0 - share) * a + share * b
    if method == "spherical":
        path = _on_arcs(a, b, share, path)
    path = path.astype(np.result_type(start, end))
    path[:, 0], path[:, -1] = start, end
    return path[0] if single else path


def _on_arcs(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    share: NDArray[np.float64],
    straight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the points of arcs, those of `straight` where there is no arc.

    `a` and `b` have shape (m, 1, n_components), `share` (n, 1), `straight`
    (m, n, n_components).
    """
    norm_a, norm_b = (np.linalg.norm(z, axis=-1, keepdims=True) for z in (a, b))
    unit_a, unit_b = (
        np.divide(z, norm, out=np.zeros_like(z), where=norm > 0)
        for z, norm in ((a, norm_a), (b, norm_b))
    )
    # exact for small and for large angles, where the arc cosine is not
    angle = 2.0 * np.arctan2(
        np.linalg.norm(unit_a - unit_b, axis=-1, keepdims=True),
        np.linalg.norm(unit_a + unit_b, axis=-1, keepdims=True),
    )
    bent = (np.sin(angle) > _LEAST_SINE) & (norm_a > 0) & (norm_b > 0)
    sine = np.where(bent, np.sin(angle), 1.0)
    direction = np.sin((1.0 - share) * angle) / sine * unit_a
    direction = direction + np.sin(share * angle) / sine * unit_b
    norm = (1.0 - share) * norm_a + share * norm_b
    return np.where(bent, norm * direction, straight)


def latent_paths(
    manifold: Any, a: Any, b: Any, n: int, method: str
) -> tuple[NDArray[Any], bool]:
    """Return the latents on the paths between rows, and whether it is one path.

    Parameters
    ----------
    manifold : estimator, fitted
        With `transform`.
    a, b, n, method
        As in `interpolate`.

    Returns
    -------
    path : ndarray of shape (m, n, n_components)
    single : bool
        Whether `a` and `b` are one row each; m is then 1.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"a and b must have the same shape, got {np.shape(a)} and {np.shape(b)}."
        )
    (z_a, single), (z_b, _) = (coordinates(manifold, rows) for rows in (a, b))
    return interpolate_latents(z_a, z_b, n, method=method), single
