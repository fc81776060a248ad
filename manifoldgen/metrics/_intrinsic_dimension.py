"""How many coordinates data need, by the distances of nearest neighbours."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice, check_int, check_real
from ..neighbors import NeighborIndex, nearest_neighbors
from ._rows import as_rows


def intrinsic_dimension(
    X: Any,
    *,
    method: str = "twonn",
    n_neighbors: int = 15,
    discard_fraction: float = 0.1,
) -> float:
    """Estimate how many coordinates the rows of X vary in, locally.

    It suggests where to search for `n_components`, below and above the estimate, and
    does not choose: noise raises it with the number of rows, both methods fall short
    in more than 10 dimensions or so unless there are very many rows, and a curved
    sheet needs more coordinates than it has dimensions to be laid flat without a tear.

    "twonn" looks at the ratios of the distances to the second and to the first
    neighbour, which follow ``P(ratio > r) = r**-d``: the smallest scale there is, free
    of curvature, but also where noise lives. "mle" looks at `n_neighbors` of them and
    so varies less and sees a coarser scale.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data in units that make columns comparable; images of any shape are flattened.
        Duplicates are dropped.
    method : {"twonn", "mle"}, default="twonn"
        A line through the origin fitted to ``-log(P(ratio > r))`` over ``log(r)`` [1]_,
        or the likelihood of the neighbours' distances [2]_, whose inverse estimates
        are averaged over rows [3]_.
    n_neighbors : int, default=15
        For "mle" alone: at least 2, less than the rows.
    discard_fraction : float, default=0.1
        For "twonn" alone: share of the largest ratios that the line is not fitted to,
        in [0, 1); outliers have such.

    Returns
    -------
    dimension : float
        Above 0 and finite. It may exceed the number of columns, by chance.

    Warns
    -----
    UserWarning
        If rows are dropped because they repeat others.

    Raises
    ------
    ValueError
        If there are too few different rows, a value is not finite, a parameter is out
        of bounds, or the neighbours of every row are equally far from it, as on a
        lattice.

    References
    ----------
    .. [1] E. Facco, M. d'Errico, A. Rodriguez, A. Laio, "Estimating the intrinsic
       dimension of datasets by a minimal neighborhood information", Scientific Reports
       7, 2017, arXiv:1803.06992.
    .. [2] E. Levina, P. Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension",
       NeurIPS 2004, Eq. (8).
    .. [3] D. MacKay, Z. Ghahramani, "Comments on 'Maximum Likelihood Estimation of
       Intrinsic Dimension' by E. Levina and P. Bickel", 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_swiss_roll
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from manifoldgen import intrinsic_dimension
    >>> X, _ = make_swiss_roll(1000, random_state=0)
    >>> round(intrinsic_dimension(X, method="mle"), 1)
    1.9

    From half to twice the estimate is a grid to start with:

    >>> X = np.random.default_rng(0).normal(size=(500, 4)) @ np.eye(4, 20)
    >>> d = intrinsic_dimension(X)
    >>> widths = np.unique(np.geomspace(max(1, d / 2), 2 * d, 5).round().astype(int))
    >>> widths
    array([2, 3, 4, 6, 8])
    >>> search = GridSearchCV(PCA(), {"n_components": widths})
    """
    check_choice("method", method, ("twonn", "mle"))
    share = check_real("discard_fraction", discard_fraction, 0.0, 1.0, closed="left")
    rows = _different_rows(as_rows("X", X))
    k = 2
    if method == "mle":
        hint = f"X has {len(rows)} different rows."
        k = check_int("n_neighbors", n_neighbors, 2, len(rows) - 1, hint)
    distances = nearest_neighbors(rows, k, method="exact").distances
    # the square of a difference may be too small for a float
    logs = np.log(np.maximum(distances, np.finfo(np.float64).tiny))
    gaps = logs[:, [-1]] - logs[:, :-1]
    if method == "mle":
        above, below = 1.0, float(gaps.mean())
    else:
        above, below = _line_of_twonn(np.sort(gaps[:, 0]), share)
    if below == 0.0:
        raise ValueError(
            f"X must have rows whose nearest neighbours are at different distances, "
            f"but all {k} are equally far, as on a lattice or between one-hot rows. "
            f"Look at more of them: method='mle' with n_neighbors above {k}."
        )
    return above / below


def _different_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the different rows, times a power of two that keeps squares finite."""
    size = max(float(rows.max()), -float(rows.min()))
    scaled = np.ldexp(rows, -int(np.frexp(size)[1]))
    unique: NDArray[np.float64] = NeighborIndex.build(scaled).arrays()["rows"]
    if len(unique) < len(rows):
        warnings.warn(
            f"X has {len(rows) - len(unique)} rows that repeat others; they are "
            "dropped, because neighbours at distance 0 tell nothing of the dimension.",
            UserWarning,
            stacklevel=3,
        )
    if len(unique) < 3:
        raise ValueError(f"X must have at least 3 different rows, got {len(unique)}.")
    return unique


def _line_of_twonn(
    logs: NDArray[np.float64], discard_fraction: float
) -> tuple[float, float]:
    """Return the products whose ratio is the slope of ``-log(1 - F)`` over `logs`.

    `logs` rise, F is the share up to each; that of the largest is 1, so it is left out.
    """
    n = len(logs)
    kept = min(n - 1, int(np.ceil(n * (1.0 - discard_fraction))))
    heights = -np.log1p(-np.arange(1, kept + 1) / n)
    logs = logs[:kept]
    return float(heights @ logs), float(logs @ logs)
