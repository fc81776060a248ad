"""Where a map of neighbours begins: the t-SNE of some rows, and the others beside."""

import warnings

import numpy as np
from numpy.typing import NDArray

from .._random import draw_seed
from ..neighbors import nearest_neighbors
from ._graph import distinct_labels, distinct_rows
from ._tsne_coordinates import tsne_coordinates

_SOME = 20_000  # rows; the graph that comes after knows the details
_NEAREST = 5
_ITERATIONS = 150, 250  # at most, with early exaggeration and without
_PER_EPOCH = 8, 12


def coarse_map(
    rows: NDArray[np.number],
    labels: NDArray[np.int64] | None,
    n_components: int,
    metric: str,
    n_epochs: int,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Return rough coordinates of rows, groups in one piece, with a spread of 1.

    Training by neighbours mends what is near and cannot bring together what begins
    apart [1]_. So up to 20,000 distinct rows are mapped by t-SNE, and the others are
    put at the median of the 5 nearest of those.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    labels : ndarray of shape (n_rows,), int64, or None
        Classes to be drawn apart, -1 where unknown.
    n_components : int
        1, 2 or 3.
    metric : str
    n_epochs : int
        Of the training that comes after: fewer than 20 get fewer iterations of t-SNE.
    rng : RandomState

    Returns
    -------
    coordinates : ndarray of shape (n_rows, n_components), float32
        Centred; all 0 where all rows are equal.

    References
    ----------
    .. [1] D. Kobak, G. C. Linderman, "Initialization is critical for preserving global
       data structure in both t-SNE and UMAP", Nature Biotechnology 39, 2021.
    """
    data = distinct_rows(rows, metric)
    chosen = np.sort(rng.permutation(len(data.rows))[:_SOME])
    some = data.rows[chosen]
    if len(some) < 4:
        return np.zeros((len(rows), n_components), np.float32)
    early, late = (
        min(most, share * n_epochs)
        for most, share in zip(_ITERATIONS, _PER_EPOCH, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the graph of a sample
        found = tsne_coordinates(
            some,
            n_components,
            perplexity=min(30.0, (len(some) - 1) / 3),
            early_exaggeration_iter=early,
            n_iter=late,
            metric=metric,
            labels=None if labels is None else distinct_labels(labels, data)[chosen],
            random_state=draw_seed(rng),
        ).coordinates.astype(np.float64)
    near = nearest_neighbors(
        some,
        min(_NEAREST, len(some)),
        queries=data.rows,
        metric=metric,
        random_state=0,
    )
    places = np.median(found[near.indices], axis=1)
    places[chosen] = found
    places -= places.mean(axis=0)
    spread = float(np.sqrt(np.square(places).mean())) or 1.0
    return (places / spread).astype(np.float32)[data.inverse]
