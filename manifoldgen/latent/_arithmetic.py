"""Sums and differences of mean latents, decoded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._coordinates import coordinates, invertible_part


def latent_arithmetic(
    manifold: Any,
    add: Sequence[Any],
    subtract: Sequence[Any] = (),
    *,
    start: Any = None,
) -> NDArray[Any]:
    """Return the row of data at a sum and difference of mean latents.

    "Man with glasses - man + woman" of [1]_: each group of rows stands for its mean in
    latent space, the means are added and subtracted, and the result is transformed
    back. With `start` the difference is added to rows of their own.

    Parameters
    ----------
    manifold : manifold or Pipeline, fitted
        With `transform` and `inverse_transform`; a last step of a Pipeline that only
        generates is left out.
    add : list of array-like, each of shape (n, n_features), (n_features,) or images
        Groups of rows whose means are added, such as ``[X_glasses, X_women]``.
    subtract : list of array-like, default=()
        Groups of rows whose means are subtracted, such as ``[X_men]``.
    start : array-like of shape (n_features,), an image as `fit` saw it, or several, \
default=None
        Rows to whose latents the sum is added, one by one; None adds it to zero.

    Returns
    -------
    X : ndarray of shape (n_features,), or (n, n_features) where `start` is several
        In the layout of `inverse_transform`.

    Raises
    ------
    TypeError
        If `manifold` cannot go there and back, or `add` or `subtract` is no list of
        groups.
    ValueError
        If no group is given, one is empty or of another width, or a value is not
        finite.

    Notes
    -----
    One group more added than subtracted, and with `start` as many, give a result that
    does not depend on where the latents have their origin. Otherwise means are counted
    from there.

    References
    ----------
    .. [1] A. Radford, L. Metz, S. Chintala, "Unsupervised representation learning with
       deep convolutional generative adversarial networks", ICLR 2016,
       arXiv:1511.06434, Sec. 6.3.2. We take the latents from an encoder.

    Examples
    --------
    >>> from manifoldgen import latent_arithmetic
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(16).fit(X)
    >>> latent_arithmetic(pca, [X[y == 8], X[y == 1]], [X[y == 3]]).shape
    (64,)
    >>> latent_arithmetic(pca, [X[y == 8]], [X[y == 3]], start=X[y == 1][:5]).shape
    (5, 64)
    """
    part = invertible_part(manifold)
    added, subtracted, _ = mean_latents(part, add, subtract)
    change = added.sum(axis=0) - subtracted.sum(axis=0)
    if start is None:
        return np.asarray(part.inverse_transform(change[None]))[0]
    Z, single = coordinates(part, start)
    rows = np.asarray(part.inverse_transform((Z + change).astype(change.dtype)))
    return rows[0] if single else rows


def mean_latents(
    manifold: Any, add: Sequence[Any], subtract: Sequence[Any]
) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
    """Return the mean latents of groups, and how many rows each group has.

    Parameters
    ----------
    manifold : estimator, fitted
        With `transform`.
    add, subtract
        As in `latent_arithmetic`.

    Returns
    -------
    added : ndarray of shape (len(add), n_components)
        In the dtype that `manifold` gives latents.
    subtracted : ndarray of shape (len(subtract), n_components)
    sizes : list of int
        Of the groups in `add` and then `subtract`.
    """
    groups = [*_check_groups("add", add), *_check_groups("subtract", subtract)]
    if not groups:
        raise ValueError("add must hold at least one group of rows, got none.")
    means, sizes = zip(
        *(_mean_latent(manifold, *group) for group in groups), strict=True
    )
    stacked = np.stack(means)
    return stacked[: len(add)], stacked[len(add) :], list(sizes)


def _check_groups(name: str, groups: Any) -> list[tuple[str, Any]]:
    """Return groups with a name for messages; a group itself is no list of them."""
    if not isinstance(groups, (list, tuple)):
        raise TypeError(
            f"{name} must be a list of groups of rows, got {type(groups).__name__}. "
            f"Put a single group into a list."
        )
    for k, rows in enumerate(groups):
        if np.ndim(rows) == 0 or not len(rows):
            raise ValueError(
                f"{name}[{k}] must hold at least one row of data, got "
                f"{rows if np.ndim(rows) == 0 else 'none'}."
            )
    return [(f"{name}[{k}]", rows) for k, rows in enumerate(groups)]


def _mean_latent(manifold: Any, name: str, rows: Any) -> tuple[NDArray[Any], int]:
    try:
        Z, _ = coordinates(manifold, rows)
    except Exception as error:
        error.add_note(f"That is of the rows in {name}.")
        raise
    dtype = Z.dtype if Z.dtype.kind == "f" else np.float64
    return Z.mean(axis=0, dtype=np.float64).astype(dtype), len(Z)
