"""Fréchet distance of Gaussians fitted to two samples, and its limit for many rows."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, eigh, svdvals
from scipy.linalg.lapack import dpstrf

from .._validation import check_int
from ..covariance import moments
from ._rows import Features, two_samples

_ROWS_A_COLUMN = 10  # of the smallest parts, below which the bias bends away from 1/n
_ERROR = 1e-9  # of the traces, that a faster way to the root may cost
_Rows = NDArray[np.float64]


class _Gaussian(NamedTuple):
    """A mean, and a covariance or rows whose products are one."""

    mean: NDArray[np.float64]
    spread: _Rows
    is_factor: bool  # what `spread` is


def frechet_distance(
    X_real: Any, X_generated: Any, *, features: Features = None
) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to two samples.

    ``|m1 - m2|**2 + tr(S1 + S2 - 2 (S1 S2)**(1/2))`` of means and covariances: 0 where
    both agree, whatever else differs. Of features of an Inception network it is the
    FID. It is biased upwards, the more the fewer the rows, so compare samples of one
    size, or take `frechet_distance_limit`.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.

    Returns
    -------
    distance : float
        In the squared units of the columns, >= 0.

    Warns
    -----
    UserWarning
        If a sample has no more rows than columns: the covariance of so few is
        singular, and the bias is large.

    Raises
    ------
    ValueError
        If a sample has fewer than 2 rows, the columns do not match, a value is not
        finite, or `features` does not return one row for each.

    References
    ----------
    .. [1] M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to
       a Local Nash Equilibrium", NeurIPS 2017, arXiv:1706.08500, Eq. (6). With
       covariances ``A.T A`` and ``B.T B`` the trace of the root is the sum of the
       singular values of ``A B.T``. We take those, which keep the digits of singular
       covariances, or eigenvalues of a symmetric matrix where these are as good, and
       never the root of a matrix that is not symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import frechet_distance
    >>> X = np.random.default_rng(0).standard_normal((1000, 2))
    >>> round(frechet_distance(X, 3 * X + [1.0, 0.0] - X.mean(axis=0) * 2), 1)
    9.0
    """
    real, generated = _samples(X_real, X_generated, features, n_parts=1)
    return _distance(_fit(real), _fit(generated))


def frechet_distance_limit(
    X_real: Any,
    X_generated: Any,
    *,
    n_sizes: int = 15,
    features: Features = None,
    random_state: Any = 0,
) -> float:
    """Return the Fréchet distance that infinitely many generated rows would have.

    The bias of `frechet_distance` falls as 1/n. So the rows are parted into halves,
    thirds and so on, and a line through the mean distances of the parts, against 1/n,
    meets n = infinity at the limit. Figures of different numbers of generated rows
    become comparable, and those of a good generator are no longer ruled by the bias.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows, all of which are used each time: the bias that comes of their
        number stays. Images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows, at least 4.
    n_sizes : int, default=15
        Sizes of parts that the line goes through, at least 2. Fewer are taken where
        parts would have fewer than ten rows for each column, but two at least.
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.
    random_state : int, RandomState or None, default=0
        What decides which rows share a part.

    Returns
    -------
    distance : float
        In the squared units of the columns; a little below 0 at times, where the
        distributions agree.

    Warns
    -----
    UserWarning
        If the real rows, or half of the generated ones, are no more than the columns:
        the bias of so few is not 1/n.

    Raises
    ------
    ValueError
        If there are fewer than 4 generated rows, `n_sizes` < 2, or as
        `frechet_distance` does.

    References
    ----------
    .. [1] M. J. Chong, D. Forsyth, "Effectively Unbiased FID and Inception Score and
       where to find them", CVPR 2020, arXiv:1911.07023, section 4. Where they take
       one random part of each size, we take disjoint ones of all rows, which makes
       the limit about as exact as the distance of all rows is.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import frechet_distance, frechet_distance_limit
    >>> rng = np.random.default_rng(0)
    >>> real, generated = rng.standard_normal((20000, 8)), rng.standard_normal((800, 8))
    >>> biased = frechet_distance(real, generated)
    >>> limit = frechet_distance_limit(real, generated)
    >>> round(biased, 3), round(limit, 3)
    (0.037, 0.002)
    """
    from .._random import random_state_of  # loads torch

    n_sizes = check_int("n_sizes", n_sizes, low=2)
    real, generated = _samples(X_real, X_generated, features, n_parts=2)
    n, d = generated.shape
    if n < 4:
        raise ValueError(f"X_generated must have at least 4 rows, got {n}.")
    goal = _fit(real)
    rows = generated[random_state_of(random_state).permutation(n)]
    counts = np.arange(1, max(2, min(n_sizes, n // (_ROWS_A_COLUMN * d))) + 1)
    distances = [
        np.mean([_distance(goal, _fit(part)) for part in np.array_split(rows, count)])
        for count in counts
    ]
    _, limit = np.polyfit(counts / n, distances, 1)
    return float(limit)


def _samples(
    X_real: Any, X_generated: Any, features: Features, n_parts: int
) -> tuple[_Rows, _Rows]:
    real, generated = two_samples(
        X_real, X_generated, "X_real", "X_generated", min_rows=2, features=features
    )
    few = min(len(real), len(generated) // n_parts)
    if few <= real.shape[1]:
        part = "X_generated" if n_parts == 1 else "half of X_generated"
        warnings.warn(
            f"X_real and {part} should have more rows than columns, got {few} rows of "
            f"{real.shape[1]} columns: their Fréchet distance is biased upwards by "
            "far. Give more rows, or features of fewer columns.",
            UserWarning,
            stacklevel=3,
        )
    return real, generated


def _fit(rows: _Rows) -> _Gaussian:
    n, d = rows.shape
    if n > d:
        found = moments(rows)
        return _Gaussian(found.mean, found.scatter / (n - 1), is_factor=False)
    mean = rows.mean(axis=0)
    return _Gaussian(mean, (rows - mean) / np.sqrt(n - 1), is_factor=True)


def _factor(gaussian: _Gaussian) -> _Rows:
    """Return rows, as many as the rank, whose products are the covariance."""
    if gaussian.is_factor:
        return gaussian.spread
    lower, pivots, rank, _ = dpstrf(gaussian.spread, lower=1)
    factor = np.empty((rank, len(lower)))
    factor[:, pivots - 1] = np.tril(lower)[:, :rank].T
    return factor


def _distance(one: _Gaussian, other: _Gaussian) -> float:
    spread = None
    if not (one.is_factor or other.is_factor):
        spread = _by_eigenvalues(one.spread, other.spread)
    if spread is None:
        spread = _by_singular_values(_factor(one), _factor(other))
    gap = float(np.square(one.mean - other.mean).sum())
    # Rounding alone can push the difference of equal samples below 0.
    return gap + max(0.0, spread)


def _by_eigenvalues(S: _Rows, T: _Rows) -> float | None:
    """Return ``tr(S + T - 2 (S T)**(1/2))``, or None where it would not be exact.

    Eigenvalues take a third of the time of singular values, but each has the rounding
    error of the largest, which is much for the roots of small ones.
    """
    traces = float(S.trace() + T.trace())
    try:
        # those of L.T S L, with T = L L.T: symmetric, unlike S T
        squares = eigh(S, T, type=2, eigvals_only=True, driver="gv")
    except LinAlgError:  # T is singular
        return None
    roots = np.sqrt(np.maximum(squares, 0.0))
    limits = np.finfo(np.float64)
    noise = 10 * limits.eps * roots[-1] ** 2
    if np.sum(noise / np.maximum(roots, np.sqrt(noise) + limits.tiny)) > (
        _ERROR * traces
    ):
        return None
    return traces - 2 * float(roots.sum())


def _by_singular_values(A: _Rows, B: _Rows) -> float:
    """Return the same for covariances ``A.T A`` and ``B.T B``, singular or not."""
    products = A @ B.T
    root = float(svdvals(products, overwrite_a=True).sum()) if products.size else 0.0
    return float(np.square(A).sum() + np.square(B).sum()) - 2 * root
