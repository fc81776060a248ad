"""A covariance that outliers among the rows do not spoil."""

from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, ndtri

from .._validation import check_real
from ._chunks import numeric_rows
from ._factors import check_n_components
from ._full_factor import RANK_TOLERANCE, rank_of
from ._low_rank import (
    LowRankFactor,
    Principal,
    low_rank_factor,
    principal_directions,
)
from ._moments import moments
from ._whitening import Kernel, map_blocks, padded, padded_rows, padded_width

_ROWS_A_DIRECTION = 5
_MOST_BY_DEFAULT = 30
_SEARCH_ROWS, _SUBSET_ROWS = 5000, 500
_KEPT_ALONG, _KEPT_BEYOND = 0.975, 0.999

Start = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A mean and a covariance that a search for the half of least determinant starts at."""


def robust_factor(
    X: NDArray[Any],
    *,
    n_components: int | float | None = None,
    ridge: float = 1e-6,
    random_state: Any = None,
) -> LowRankFactor:
    """Return the covariance of the rows that are no outliers, factored.

    The minimum covariance determinant along the principal directions of the rows: rows
    within the 97.5th percentile of a Gaussian about the half of least determinant, and
    not far off those directions, are clean. Mean, directions and variances are those of
    the clean rows, the variances made those of all Gaussian rows by their consistency
    factor; every other direction has the mean of the variances left over, as in "ppca"
    of `factor`. Holds where outliers are fewer than half of the rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Real, finite numbers. The half of least determinant is searched for among at
        most 5,000 rows, drawn at random, from what scikit-learn finds in 500 of them
        and from two starts without randomness; clean rows are then found among all.
    n_components : int, float or None, default=None
        Number of leading directions, or the share of the variance, in (0, 1), that the
        fewest of them hold; at most one for five rows, 100, and as many as the rows
        vary in. None is 0.95, but at most 30.
    ridge : float, default=1e-6
        Share of the mean variance that is added to all variances, in [0, 1].
    random_state : int, RandomState or None, default=None
        Chooses the rows and subsets that are tried.

    Returns
    -------
    factor : LowRankFactor

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range, rows are too few or do not vary enough for
        n_components, or more than half of them do not vary along a direction.

    References
    ----------
    .. [1] P. Rousseeuw, K. Van Driessen, "A fast algorithm for the minimum covariance
           determinant estimator", Technometrics 41(3), 1999.
    .. [2] C. Croux, G. Haesbroeck, "Influence function and efficiency of the minimum
           covariance determinant scatter matrix estimator", J. Multivariate Analysis
           71(2), 1999, Sect. 4.
    .. [3] M. Hubert, P. Rousseeuw, T. Verdonck, "A deterministic algorithm for robust
           location and scatter", J. Computational and Graphical Statistics 21(3), 2012,
           Sect. 3. We take two of its six starts, with medians of absolute deviations.
    .. [4] M. Hubert, P. Rousseeuw, K. Vanden Branden, "ROBPCA: a new approach to robust
           principal component analysis", Technometrics 47(1), 2005, Sect. 2 (the limit
           of distances off the directions). We take the directions of all rows first.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> X[:100] += 8.0
    >>> found = robust_factor(X, n_components=2, random_state=0)
    >>> bool(abs(found.location).max() < 0.2), X.mean(axis=0).round(1)
    (True, array([1.5, 1.6]))
    """
    rows = numeric_rows(X)
    check_real("ridge", ridge, 0.0, 1.0)
    _check_rows(rows)
    principal = principal_directions(rows)
    n_kept = _n_directions(principal, n_components)
    along, beyond = _coordinates(rows, principal, n_kept)
    clean = _clean_along(along / np.sqrt(principal.values[:n_kept]), random_state)
    n_beyond = min(len(principal.mean), len(rows) - 1) - n_kept
    varies_beyond = principal.values[n_kept:].sum() > (
        RANK_TOLERANCE * principal.values.sum()
    )
    if varies_beyond:
        clean &= _clean_beyond(beyond)
    kept = principal_directions(rows[clean])
    values = kept.values[:n_kept] * consistency_factor(_KEPT_ALONG, n_kept)
    noise = kept.beyond(n_kept)
    if varies_beyond:
        noise *= consistency_factor(_KEPT_BEYOND, n_beyond)
    return replace(
        low_rank_factor(kept, values, noise, ridge), rank=rank_of(principal.values)
    )


def consistency_factor(share: float, n_features: int) -> float:
    """Return what the covariance of the nearest rows of a Gaussian falls short by.

    Of the `share` nearest to the mean; ``share / F(q)`` with q the quantile `share` of
    chi-squared with n_features degrees of freedom and F the distribution function of
    that with two more.

    Examples
    --------
    >>> round(consistency_factor(0.5, 1), 2)
    7.01
    """
    limit = _chi_squared(share, n_features)
    return float(share / gammainc(n_features / 2 + 1, limit / 2))


def _chi_squared(share: float, n_features: int) -> float:
    """Return a quantile of chi-squared, without the weight of scipy.stats."""
    return float(2 * gammaincinv(n_features / 2, share))


def _check_rows(rows: NDArray[Any]) -> None:
    if len(rows) < _ROWS_A_DIRECTION:
        raise ValueError(
            f"X must have at least {_ROWS_A_DIRECTION} rows for covariance='robust', "
            f"got {len(rows)}: the minimum covariance determinant takes five rows for "
            "each direction. Use covariance='oas'."
        )


def _n_directions(principal: Principal, n_components: Any) -> int:
    """Return how many directions to search along, or say why not so many."""
    rank = rank_of(principal.values)
    if not rank:
        raise ValueError(
            "X must vary for covariance='robust', got rows that are all the same."
        )
    n_samples, n_features = principal.n_samples, len(principal.mean)
    n_search = min(n_samples, _SUBSET_ROWS)
    most = min(n_search // _ROWS_A_DIRECTION, rank)
    if n_components is None:
        return min(principal.n_holding(0.95), most, _MOST_BY_DEFAULT)
    why = f"it takes five rows for each, and is searched among {n_search} rows"
    if most == rank:
        why = f"the {n_features} columns vary along {rank} directions only"
    check_n_components(
        n_components,
        most,
        "The minimum covariance determinant of more directions is not to be had: "
        f"{why}, and the determinant of a singular covariance is 0 whatever the rows. "
        "Pass n_components=None, which leaves what lies beyond the leading directions "
        "to their mean variance, or use covariance='oas'.",
    )
    if isinstance(n_components, float | np.floating):
        return min(principal.n_holding(float(n_components)), most)
    return int(n_components)


def _coordinates(
    X: NDArray[Any], principal: Principal, n_kept: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows along the leading directions, and squared distances off them."""
    basis = padded(np.ascontiguousarray(principal.vectors[:, :n_kept]))
    n_features = len(principal.mean)
    n_block = padded_rows(n_features)

    def new_kernel() -> Kernel:
        off = np.empty((n_block, padded_width(n_features)))
        out = np.empty((n_block, n_kept + 1))

        def kernel(centred: NDArray[np.float64]) -> NDArray[np.float64]:
            on = centred @ basis
            np.subtract(centred, on @ basis.T, out=off)
            out[:, :n_kept] = on[:, :n_kept]
            out[:, n_kept] = np.vecdot(off, off)
            return out

        return kernel

    both = map_blocks(X, principal.mean, new_kernel, (n_kept + 1,))
    return both[:, :n_kept], both[:, n_kept]


def _clean_along(rows: NDArray[np.float64], random_state: Any) -> NDArray[np.bool_]:
    """Return which rows are near the half of least determinant.

    Rows are of unit variances. They are found twice: near the half, in the median of
    all rows, then near the mean of these, by a covariance that fewer outliers are in.
    """
    # brings torch, which moments do without
    from .._random import draw_seed, random_state_of

    rng = random_state_of(random_state)
    sample = _drawn(rows, _SEARCH_ROWS, rng)
    starts = [
        _searched(_drawn(sample, _SUBSET_ROWS, rng), draw_seed(rng)),
        _refined(sample, _sign_directions(sample)),
        _refined(sample, _middle_directions(sample)),
    ]
    halves = [_concentrated(sample, *start) for start in starts]
    _, location, covariance = min(halves, key=lambda half: half[0])
    n_features = rows.shape[1]
    limit = _chi_squared(_KEPT_ALONG, n_features)
    distances = _distances(rows, location, covariance)
    distances *= _chi_squared(0.5, n_features) / np.median(distances)
    part = moments(rows[distances <= limit])
    whole = part.covariance * consistency_factor(_KEPT_ALONG, n_features)
    clean: NDArray[np.bool_] = _distances(rows, part.mean, whole) <= limit
    return clean


def _drawn(
    rows: NDArray[np.float64], n_most: int, rng: np.random.RandomState
) -> NDArray[np.float64]:
    if len(rows) <= n_most:
        return rows
    return rows[np.sort(rng.choice(len(rows), n_most, replace=False))]


def _searched(rows: NDArray[np.float64], seed: int) -> Start:
    """Return what scikit-learn's search from random halves finds."""
    from sklearn.covariance import MinCovDet

    try:
        found = MinCovDet(random_state=seed).fit(rows)
    except ValueError as error:  # of rows of which half are alike
        _refuse_flat_half(rows.shape[1], error)
    return found.raw_location_, found.raw_covariance_


def _sign_directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal directions of rows that are all equally far."""
    centred = rows - np.median(rows, axis=0)
    norms = np.sqrt(np.vecdot(centred, centred))
    centred /= np.where(norms > 0, norms, 1.0)[:, None]
    return np.linalg.eigh(centred.T @ centred)[1]


def _middle_directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal directions of the half of the rows in the middle."""
    centred = rows - np.median(rows, axis=0)
    squares = np.vecdot(centred, centred)
    return np.linalg.eigh(moments(rows[squares <= np.median(squares)]).covariance)[1]


def _refined(rows: NDArray[np.float64], vectors: NDArray[np.float64]) -> Start:
    """Return a mean and a covariance by medians along some directions."""
    along = rows @ vectors
    middle = np.median(along, axis=0)
    spread = np.median(np.abs(along - middle), axis=0) / ndtri(0.75)
    if spread.min() <= np.sqrt(RANK_TOLERANCE) * spread.max():
        _refuse_flat_half(len(spread))
    return vectors @ middle, (vectors * spread**2) @ vectors.T


def _concentrated(
    rows: NDArray[np.float64],
    location: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return log-determinant, mean and covariance of a half that is its own nearest.

    Each step takes the half nearest by the last, which lowers the determinant.
    """
    n_half = (len(rows) + rows.shape[1] + 1) // 2
    least = np.inf
    while True:
        distances = _distances(rows, location, covariance)
        half = moments(rows[np.argpartition(distances, n_half - 1)[:n_half]])
        volume = float(np.linalg.slogdet(half.covariance)[1])
        if volume >= least - 1e-9:
            return least, location, covariance
        least, location, covariance = volume, half.mean, half.covariance


def _distances(
    rows: NDArray[np.float64],
    location: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= RANK_TOLERANCE * values[-1]:
        _refuse_flat_half(len(values))
    white = (rows - location) @ (vectors / np.sqrt(values))
    distances: NDArray[np.float64] = np.vecdot(white, white)
    return distances


def _clean_beyond(squares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are near the directions, by cube roots about Gaussian."""
    roots = np.cbrt(squares)
    middle = np.median(roots)
    spread = np.median(np.abs(roots - middle)) / ndtri(0.75)
    clean: NDArray[np.bool_] = roots <= middle + ndtri(_KEPT_BEYOND) * spread
    return clean


def _refuse_flat_half(n_components: int, cause: Exception | None = None) -> NoReturn:
    raise ValueError(
        "X must vary along every direction in more than half of its rows for "
        f"covariance='robust', got half of them flat along one of the leading "
        f"{n_components}: the least determinant is 0. Pass a smaller n_components, or "
        "use covariance='ppca'."
    ) from cause
