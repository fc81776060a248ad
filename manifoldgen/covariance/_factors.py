"""The covariance of moments or rows, factored as asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import column_moments
from .._validation import check_choice, check_int, check_real
from ._chunks import numeric_rows
from ._full_factor import Factor, FullFactor
from ._low_rank import (
    check_finite,
    diagonal_factor,
    directions_of,
    leading_factor,
    principal_directions,
    wide_factor,
)
from ._moments import Moments, moments
from ._shrinkage import ledoit_wolf_shrinkage, oas_shrinkage, shrink
from ._whitening import whitening_matrix

KINDS = ("oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank")
"""What `factor` takes as covariance."""

_LEADING = ("ppca", "low_rank")


def factor(
    total: Moments,
    covariance: str = "oas",
    *,
    ridge: float = 1e-6,
    n_components: int | float | None = None,
) -> Factor:
    """Return the covariance of some moments, factored to measure distances with.

    Of the rows themselves, where they are fewer than their columns, `factor_rows` makes
    the same without a matrix of n_features x n_features.

    Parameters
    ----------
    total : Moments
        Whose covariance S is the maximum-likelihood one.
    covariance : str, default="oas"
        - "oas": S shrunk to a sphere by Oracle Approximating Shrinkage,
        - "ledoit_wolf": S shrunk to a sphere by Ledoit's and Wolf's estimate, from
          ``moments(X, fourth=True)``,
        - "empirical": S,
        - "diagonal": the diagonal of S,
        - "ppca": S along its leading directions, and in all others their mean variance,
        - "low_rank": S along its leading directions, and the ridge alone in all others.

        Under "empirical" and "diagonal" distances do not depend on the units of the
        columns; the others are for columns of one unit.
    ridge : float, default=1e-6
        What is added to variances, dimensionless, in [0, 1]: for "ppca" and "low_rank"
        this share of the mean variance, else as in `ridge_variances`.
    n_components : int, float or None, default=None
        Of "ppca" and "low_rank" the number of leading directions, or the share of the
        variance, in (0, 1), that the fewest of them hold. None is for "ppca" 0.95, but
        at most a direction for five rows; for "low_rank" all.

    Returns
    -------
    factor : Factor

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, n_components is not for this covariance, or
        moments for "ledoit_wolf" are without fourth powers.

    References
    ----------
    .. [1] M. Tipping, C. Bishop, "Probabilistic principal component analysis", J. Royal
           Statistical Society B 61(3), 1999, Eq. (8).
    .. [2] Y. Chen, A. Wiesel, Y. Eldar, A. Hero, "Shrinkage algorithms for MMSE
           covariance estimation", IEEE Trans. Signal Processing 58(10), 2010.
    .. [3] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional
           covariance matrices", J. Multivariate Analysis 88(2), 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import moments
    >>> X = np.random.default_rng(0).normal(size=(1000, 3)) * [1.0, 2.0, 0.0]
    >>> found = factor(moments(X))
    >>> found.rank
    2
    >>> near, far = found.squared_distances(np.array([[1.0, 2, 0], [0, 0, 1]]))
    >>> bool(near < 3 < 100 < far)
    True
    """
    _check_parameters(covariance, ridge, n_components, len(total.mean))
    S = total.covariance
    if covariance in _LEADING:
        return leading_factor(directions_of(total), covariance, ridge, n_components)
    if covariance == "diagonal":
        return diagonal_factor(total.mean, S.diagonal(), ridge)
    shrinkage = 0.0
    if covariance == "ledoit_wolf":
        shrinkage = ledoit_wolf_shrinkage(total)
    elif covariance == "oas":
        shrinkage = oas_shrinkage(S, total.n_samples)
    root, log_determinant = whitening_matrix(shrink(S, shrinkage), ridge)
    return FullFactor(total.mean, shrinkage, log_determinant, root, S, ridge)


def factor_rows(
    X: NDArray[Any],
    covariance: str = "oas",
    *,
    ridge: float = 1e-6,
    n_components: int | float | None = None,
) -> Factor:
    """Return the covariance of the rows of `X`, factored to measure distances with.

    The distances are those of ``factor(moments(X), ...)``. Where rows are fewer than
    columns they come from a thin singular value decomposition, and for "diagonal" from
    the variances, so that no matrix of n_features x n_features is made.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Real, finite numbers, of at least one row; for "robust" see `robust_factor`.
    covariance, ridge, n_components
        As in `factor`.

    Returns
    -------
    factor : Factor

    Raises
    ------
    TypeError, ValueError
        Where `factor` or `moments` raise.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen.covariance import moments
    >>> X = np.random.default_rng(0).normal(size=(20, 50))
    >>> wide, full = factor_rows(X), factor(moments(X))
    >>> wide.basis.shape, wide.rank
    ((50, 19), 19)
    >>> bool(np.allclose(wide.squared_distances(X), full.squared_distances(X)))
    True
    """
    rows = numeric_rows(X)
    n_samples, n_features = rows.shape
    _check_parameters(covariance, ridge, n_components, n_features)
    if covariance == "diagonal":
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = column_moments(rows)
        check_finite(mean + std)
        return diagonal_factor(mean, np.square(std), ridge)
    if n_samples >= n_features:
        total = moments(rows, fourth=covariance == "ledoit_wolf")
        return factor(total, covariance, ridge=ridge, n_components=n_components)
    if covariance in _LEADING:
        return leading_factor(
            principal_directions(rows), covariance, ridge, n_components
        )
    return wide_factor(rows, covariance, ridge)


def _check_parameters(
    covariance: Any, ridge: Any, n_components: Any, n_features: int
) -> None:
    check_choice("covariance", covariance, KINDS)
    check_real("ridge", ridge, 0.0, 1.0)
    if n_components is None:
        return
    if covariance not in _LEADING:
        raise ValueError(
            "n_components must be None for every covariance but 'ppca' and "
            f"'low_rank', got {n_components!r} for {covariance!r}."
        )
    check_n_components(n_components, n_features)


def check_n_components(value: Any, most: int, hint: str = "") -> None:
    """Raise where `value` is neither a share in (0, 1) nor an int from 1 to `most`."""
    if isinstance(value, float | np.floating):
        check_real("n_components", float(value), 0.0, 1.0, closed="neither")
    else:
        check_int("n_components", value, 1, most, hint)
