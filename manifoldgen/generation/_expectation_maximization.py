"""Gaussian mixtures as functions of arrays: expectation, maximization, their number.

Rows are whitened: the covariance of all of them is about the identity, so that a nat,
and a floor under a variance, mean the same in any unit of the data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, rq, solve_triangular
from sklearn.cluster import kmeans_plusplus

from .._threads import map_on_threads, narrow_blas

_BLOCK_ROWS = 4096
_LEAST_SHARE = 1e-8  # of a row in a component, below which its moments do not show it
_FLOOR = 1e-9  # variance of a component in any direction, at least
_SEED_ROWS = 20_000
_LLOYD_ROUNDS = 3
_DRAWN_ROWS = 64
_TRIAL_ROWS = 20_000
_ENOUGH = 8  # components up to which a number that is worse ends no search

N_COVARIANCE_PARAMETERS: dict[str, Callable[[int, int], int]] = {
    "full": lambda k, d: k * d * (d + 1) // 2,
    "tied": lambda k, d: d * (d + 1) // 2,
    "diag": lambda k, d: k * d,
    "spherical": lambda k, d: k,
}
"""How many parameters the covariances of k components of d columns have, by type."""


@dataclass(frozen=True)
class Components:
    """Gaussian components and their weights.

    Parameters
    ----------
    weights : ndarray of shape (k,), float64
        Positive; they add up to 1.
    means : ndarray of shape (k, d), float64
    covariances : ndarray of shape (k, d, d), float64
        Positive definite.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Shares of rows in components, and moments of the rows by these shares.

    Parameters
    ----------
    counts : ndarray of shape (k,), float64
    totals : ndarray of shape (k, d), float64
        Sums of the rows less the mean of the component.
    scatters : ndarray of shape (k, d, d), float64
        Sums of the outer products of these differences.
    log_likelihood : float
        Of the components, in nats, added up over the rows.
    """

    counts: NDArray[np.float64]
    totals: NDArray[np.float64]
    scatters: NDArray[np.float64]
    log_likelihood: float


Shares = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], float]]


def expect(X: NDArray[np.float64], components: Components) -> Sums:
    """Share each row out among components, and sum up what each one gets.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    components : Components

    Returns
    -------
    sums : Sums
    """
    means = components.means
    roots, peaks = _precision_roots(components)

    def share_out(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        shares = np.empty((len(rows), len(means)))
        for place, root in enumerate(roots):
            white = (rows - means[place]) @ root
            np.einsum("ij,ij->i", white, white, out=shares[:, place])
        shares *= -0.5
        shares += peaks
        highest = shares.max(axis=1, keepdims=True)
        shares -= highest
        np.exp(shares, out=shares)
        totals = shares.sum(axis=1, keepdims=True)
        shares /= totals
        return shares, float((np.log(totals) + highest).sum())

    return _summed(X, means, share_out)


def _precision_roots(
    components: Components,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return roots of the inverse covariances, and log-densities at the means."""
    k, d = components.means.shape
    roots, peaks = np.empty((k, d, d)), np.empty(k)
    for place, covariance in enumerate(components.covariances):
        lower = np.linalg.cholesky(covariance)
        roots[place] = solve_triangular(lower, np.eye(d), lower=True).T
        peaks[place] = -np.log(lower.diagonal()).sum()
    peaks += np.log(components.weights) - 0.5 * d * np.log(2 * np.pi)
    return roots, peaks


def _summed(
    X: NDArray[np.float64], means: NDArray[np.float64], share_out: Shares
) -> Sums:
    """Add moments about `means` up over blocks, in the order of the rows."""
    k, d = means.shape

    def sums(start: int) -> Sums:
        rows = X[start : start + _BLOCK_ROWS]
        shares, log_likelihood = share_out(rows)
        totals, scatters = np.zeros((k, d)), np.zeros((k, d, d))
        for place in range(k):
            share = shares[:, place]
            mine = np.flatnonzero(
                share > _LEAST_SHARE
            )  # few, where components are many
            difference = rows[mine] - means[place]
            weighted = difference * share[mine, None]
            totals[place] = weighted.sum(axis=0)
            scatters[place] = weighted.T @ difference
        return Sums(shares.sum(axis=0), totals, scatters, log_likelihood)

    counts, totals, scatters = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    log_likelihood = 0.0
    for part in map_on_threads(sums, range(0, len(X), _BLOCK_ROWS), d):
        counts += part.counts
        totals += part.totals
        scatters += part.scatters
        log_likelihood += part.log_likelihood
    return Sums(counts, totals, scatters, log_likelihood)


def maximize(
    sums: Sums, means: NDArray[np.float64], kind: str, regularization: float
) -> Components:
    """Return the components that fit their shares of the rows best.

    With S the scatter within a component of n rows, its covariance is
    ``(S + r P) / (n + r)``, where ``P = (sum of all S + r I) / (number of rows + r)``
    is what is pooled over all components and r the regularization. So a component of
    few rows takes after the others, and of one component as good as nothing changes.

    Parameters
    ----------
    sums : Sums
    means : ndarray of shape (k, d), float64
        Those that the moments in `sums` are about.
    kind : {"full", "tied", "diag", "spherical"}
    regularization : float
        In rows, >= 0.

    Returns
    -------
    components : Components
    """
    d = means.shape[1]
    counts = np.maximum(sums.counts, 1e-10)  # a component may have lost all its rows
    shifts = sums.totals / counts[:, None]
    scatters = sums.scatters - counts[:, None, None] * (
        shifts[:, :, None] * shifts[:, None, :]
    )
    pooled = scatters.sum(axis=0) + regularization * np.eye(d)
    pooled /= counts.sum() + regularization
    if kind == "tied":
        covariances = np.repeat(pooled[None], len(means), axis=0)
    else:
        covariances = scatters + regularization * pooled
        covariances /= (counts + regularization)[:, None, None]
    diagonals = np.einsum("kii->ki", covariances)
    if kind == "diag":
        covariances = diagonals[:, :, None] * np.eye(d)
    elif kind == "spherical":
        covariances = diagonals.mean(axis=1)[:, None, None] * np.eye(d)
    covariances = 0.5 * (covariances + covariances.transpose(0, 2, 1))
    covariances += _FLOOR * np.eye(d)
    return Components(counts / counts.sum(), means + shifts, covariances)


def begin(
    X: NDArray[np.float64],
    n_components: int,
    kind: str,
    regularization: float,
    lengths: NDArray[np.float64],
    rng: np.random.RandomState,
) -> Components:
    """Return components about centres that are spread over the rows by k-means++.

    Distances are those before whitening, which makes noise as long as what separates
    groups.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    n_components : int
        At most n.
    lengths : ndarray of shape (d,), float64
        Of each whitened axis, for the distances.
    kind : {"full", "tied", "diag", "spherical"}
    regularization : float
        In rows, >= 0.
    rng : RandomState

    Returns
    -------
    components : Components
    """
    if len(X) > _SEED_ROWS:
        X = X[np.sort(rng.choice(len(X), _SEED_ROWS, replace=False))]
    with narrow_blas(X.shape[1]):
        _, chosen = kmeans_plusplus(X * lengths, n_components, random_state=rng)
    means = X[chosen]
    for _ in range(_LLOYD_ROUNDS):
        sums = _summed(X, means, partial(_nearest, means, lengths))
        means = means + sums.totals / np.maximum(sums.counts, 1.0)[:, None]
    sums = _summed(X, means, partial(_nearest, means, lengths))
    return maximize(sums, means, kind, regularization)


def _nearest(
    means: NDArray[np.float64],
    lengths: NDArray[np.float64],
    rows: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Share each row out to its nearest mean alone."""
    centres = means * lengths
    distances = np.square(centres).sum(axis=1) - 2.0 * (rows * lengths) @ centres.T
    return np.eye(len(means))[distances.argmin(axis=1)], 0.0


@dataclass(frozen=True)
class Fit:
    """Components, and how they came about.

    Parameters
    ----------
    components : Components
    log_likelihood : float
        In nats, added up over the rows.
    n_iter : int
        Steps taken.
    converged : bool
        Whether the last step gained less than the tolerance.
    """

    components: Components
    log_likelihood: float
    n_iter: int
    converged: bool


def climb(
    X: NDArray[np.float64],
    components: Components,
    kind: str,
    regularization: float,
    max_iter: int,
    tol: float,
) -> Fit:
    """Take steps of expectation and maximization until one gains less than `tol`.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    components : Components
        Where to start.
    kind : {"full", "tied", "diag", "spherical"}
    regularization : float
        In rows, >= 0.
    max_iter : int
        Steps, at most.
    tol : float
        In nats a row.

    Returns
    -------
    fit : Fit
    """
    sums = expect(X, components)
    for n_iter in range(1, max_iter + 1):
        moved = maximize(sums, components.means, kind, regularization)
        after = expect(X, moved)
        gain = (after.log_likelihood - sums.log_likelihood) / len(X)
        if gain > 0:  # regularized steps may lose a little, near the end
            components, sums = moved, after
        if gain < tol:
            return Fit(components, sums.log_likelihood, n_iter, True)
    return Fit(components, sums.log_likelihood, max_iter, False)


def bayesian_information_criterion(
    log_likelihood: float, n_rows: int, n_components: int, n_columns: int, kind: str
) -> float:
    """Return ``-2 log L + p log n`` of a mixture with p free parameters; low is good.

    References
    ----------
    .. [1] G. Schwarz, "Estimating the dimension of a model", Annals of Statistics 6(2),
           1978.

    Examples
    --------
    >>> round(bayesian_information_criterion(-100.0, 50, 2, 1, "full"), 3)
    219.56
    """
    n_parameters = n_components - 1 + n_components * n_columns
    n_parameters += N_COVARIANCE_PARAMETERS[kind](n_components, n_columns)
    return -2.0 * log_likelihood + n_parameters * float(np.log(n_rows))


def search(
    X: NDArray[np.float64],
    most: int,
    attempt: Callable[[NDArray[np.float64], int], Fit],
    kind: str,
) -> tuple[Fit, dict[int, float]]:
    """Find the number of components with the lowest information criterion.

    Numbers are doubled until the criterion rises, past 8 at least; the gaps beside the
    lowest are then halved down to a quarter of it.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    most : int
        The highest number to try.
    attempt : callable
        Called with rows and a number, returns a `Fit`.
    kind : {"full", "tied", "diag", "spherical"}

    Returns
    -------
    fit : Fit
        The best one.
    criteria : dict of int to float
        By number of components, in nats.
    """
    n_rows, d = X.shape
    fits: dict[int, Fit] = {}
    criteria: dict[int, float] = {}
    best = 0

    def try_out(k: int) -> None:
        nonlocal best
        fit = attempt(X, k)
        criteria[k] = bayesian_information_criterion(
            fit.log_likelihood, n_rows, k, d, kind
        )
        if not best or criteria[k] < criteria[best]:
            fits.pop(best, None)
            fits[k], best = fit, k

    k = 1
    while k <= most and k <= max(2 * best, _ENOUGH):
        try_out(k)
        k = most if k < most < 2 * k else 2 * k
    while True:
        beside = [n for n in _halves(best, sorted(criteria)) if n not in criteria]
        if not beside:
            return fits[best], dict(sorted(criteria.items()))
        for n in beside:
            try_out(n)


def _halves(best: int, tried: list[int]) -> list[int]:
    """Return the middles of the gaps beside `best` that are worth a look."""
    place = tried.index(best)
    around = [tried[n] for n in (place - 1, place + 1) if 0 <= n < len(tried)]
    return [(n + best) // 2 for n in around if abs(n - best) > max(1, best // 4)]


def chosen_components(
    chance: NDArray[np.float64],
    weights: NDArray[np.float64],
    codes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return a component for each number in [0, 1), by the weights of its class.

    Parameters
    ----------
    chance : ndarray of shape (n,), float64
    weights : ndarray of shape (n_classes, k), float64
        At least 0, of any sum above it.
    codes : ndarray of shape (n,), int64
        Positions in the rows of `weights`.

    Returns
    -------
    chosen : ndarray of shape (n,), int64

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([[1.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    >>> chosen_components(np.array([0.2, 0.3, 0.3]), weights, np.array([0, 0, 1]))
    array([0, 1, 2])
    """
    chosen = np.empty(len(chance), dtype=np.int64)
    for code in np.unique(codes):
        edges = np.cumsum(weights[code])
        rows = codes == code
        place = np.searchsorted(edges, chance[rows] * edges[-1], side="right")
        chosen[rows] = np.minimum(place, np.searchsorted(edges, edges[-1]))
    return chosen


def drawn_rows(
    noise: NDArray[np.float64],
    chosen: NDArray[np.int64],
    means: NDArray[np.float64],
    roots: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a row of the chosen component for each row of normal noise.

    In blocks of one height, so that a row is the same to the bit however many are
    drawn.

    Parameters
    ----------
    noise : ndarray of shape (n, d), float64
    chosen : ndarray of shape (n,), int64
    means : ndarray of shape (k, d), float64
    roots : ndarray of shape (k, d, d), float64
        Upper triangular R with ``R Rᵀ`` the inverse covariance.

    Returns
    -------
    rows : ndarray of shape (n, d), float64
    """
    rows = np.empty(noise.shape)
    block = np.zeros((_DRAWN_ROWS, noise.shape[1]))
    for k in np.unique(chosen):
        mine = np.flatnonzero(chosen == k)
        spread = solve_triangular(roots[k], np.eye(len(roots[k])))
        for start in range(0, len(mine), _DRAWN_ROWS):
            part = mine[start : start + _DRAWN_ROWS]
            block[: len(part)] = noise[part]
            rows[part] = (block @ spread)[: len(part)] + means[k]
    return rows


def precision_root(
    covariance: NDArray[np.float64], forward: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return upper triangular R with ``R Rᵀ`` the inverse covariance before whitening.

    Not by way of the covariance, where rounding hides the least variances of columns
    that nearly repeat each other. The signs make R one and the same for all R, or
    rounding would choose which of two samples a noise stands for.
    """
    if not covariance.size:
        return covariance
    lower = cholesky(covariance, lower=True)
    root = rq(solve_triangular(lower, forward.T, lower=True).T, mode="r")
    return root * np.sign(root.diagonal())


def fit_mixture(
    X: NDArray[np.float64],
    lengths: NDArray[np.float64],
    most: int,
    rng: np.random.RandomState,
) -> Components:
    """Return the mixture of up to `most` Gaussians that the criterion chooses.

    Their number is looked for on at most 20,000 of the rows, and in few steps.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
    lengths : ndarray of shape (d,), float64
        As in `begin`.
    most : int
    rng : RandomState

    Returns
    -------
    components : Components
    """

    def attempt(rows: NDArray[np.float64], k: int) -> Fit:
        start = begin(rows, k, "full", 1.0, lengths, rng)
        return climb(rows, start, "full", 1.0, 10, 1e-3)

    part = X
    if len(X) > _TRIAL_ROWS:
        part = X[np.sort(rng.choice(len(X), _TRIAL_ROWS, replace=False))]
    most = max(1, min(most, len(part) // (X.shape[1] + 1)))
    found, _ = search(part, most, attempt, "full")
    return climb(X, found.components, "full", 1.0, 30, 3e-3).components
