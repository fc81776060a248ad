"""How well a manifold maps rows, on the side of training and on the other."""

from typing import Any

import numpy as np
from sklearn.utils import resample

from .._arrays import container_of, to_container
from .._random import draw_seed, random_state_of
from .._validation import check_int
from ..latent import without_generator
from ..metrics import (
    continuity,
    coranking_curve,
    neighbor_label_accuracy,
    neighbor_recall,
    round_trip_error,
    shepard_correlation,
    triplet_accuracy,
    trustworthiness,
)


def embedding_report(
    manifold: Any,
    X_train: Any,
    X_test: Any,
    y: Any = None,
    *,
    y_test: Any = None,
    n_neighbors: int = 15,
    max_samples: int = 5000,
    random_state: Any = 0,
) -> dict[str, dict[str, float]]:
    """Return how well a manifold maps its training rows and held-out ones.

    The figures of neighbours hang on how many rows there are, so as many are taken of
    the one side as of the other: all of the smaller one, at most `max_samples`.

    Parameters
    ----------
    manifold : manifold, transformer or Pipeline
        Fitted, with `transform`; of a Pipeline that ends in a generator the steps
        before that.
    X_train : array-like of shape (n_train, n_features), or images
        Rows that it was fitted on, in units that make columns comparable.
    X_test : array-like of shape (n_test, n_features), or images
        Rows that it has not seen.
    y, y_test : array-like of shape (n_train,) and (n_test,), default=None
        Labels, for the accuracy of labels alone.
    n_neighbors : int, default=15
        For the first three figures and the accuracy of labels; less than half of the
        rows that are taken.
    max_samples : int, default=5000
        Rows of each side, drawn at random where there are more. Time grows with the
        square: 5,000 take half a minute or so, 2,000 some seconds.
    random_state : int, RandomState or None, default=0
        What decides which rows, pairs and triplets are drawn.

    Returns
    -------
    report : dict of str to dict of str to float
        "train" and "test" by the name of the figure: ``trustworthiness``,
        ``continuity`` and ``neighbor_recall`` of `n_neighbors`, ``coranking_auc`` over
        neighbourhoods of every size, ``shepard_correlation`` and ``triplet_accuracy``:
        higher is better. ``label_accuracy`` where there are labels: training rows are
        named by the other ones, held-out rows by the training rows, both in the map;
        without `y_test` it is of "train" alone. ``round_trip_error`` of the data and
        ``latent_round_trip_error`` of the coordinates, lower is better, where the
        manifold has `inverse_transform`.

    Raises
    ------
    TypeError
        If `manifold` has no `transform`.
    ValueError
        If there are too few rows, or labels do not match rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = X[:900], X[900:], y[:900], y[900:]
    >>> pca = PCA(8).fit(X_train)
    >>> report = embedding_report(pca, X_train, X_test, y_train, y_test=y_test)
    >>> for name in ("trustworthiness", "label_accuracy", "round_trip_error"):
    ...     print(name, *(round(value, 2) for value in report[name].values()))
    trustworthiness 0.99 0.99
    label_accuracy 0.95 0.91
    round_trip_error 0.56 0.6
    """
    manifold = without_generator(manifold)
    if not hasattr(manifold, "transform"):
        raise TypeError(
            f"manifold must have transform or be a Pipeline of transformers and a "
            f"generator, got {type(manifold).__name__}."
        )
    if y is None and y_test is not None:
        raise ValueError("y_test needs y, the labels of the training rows that vote.")
    rng = random_state_of(random_state)
    most = check_int("max_samples", max_samples)
    n = min(len(X_train), len(X_test), most)
    report: dict[str, dict[str, float]] = {}
    voters = None
    for side, X, labels in (("train", X_train, y), ("test", X_test, y_test)):
        X, labels = _drawn_rows(X, labels, n, rng)
        Z = manifold.transform(X)
        figures = _figures_of_map(X, Z, n_neighbors, draw_seed(rng))
        if labels is not None:
            figures["label_accuracy"] = _label_accuracy(voters, Z, labels, n_neighbors)
            voters = voters or (Z, labels)
        if hasattr(manifold, "inverse_transform"):
            figures.update(_round_trips(manifold, X, Z))
        for name, value in figures.items():
            report.setdefault(name, {})[side] = value
    return report


def _drawn_rows(X: Any, y: Any, n: int, rng: np.random.RandomState) -> tuple[Any, Any]:
    if y is not None and len(y) != len(X):
        raise ValueError(
            f"Labels must be as many as their rows, got {len(y)} for {len(X)}."
        )
    if n == len(X):
        return X, y
    arrays = (X,) if y is None else (X, y)
    drawn = resample(*arrays, replace=False, n_samples=n, random_state=rng)
    return (drawn, None) if y is None else tuple(drawn)


def _figures_of_map(X: Any, Z: Any, n_neighbors: int, seed: int) -> dict[str, float]:
    return {
        "trustworthiness": trustworthiness(X, Z, n_neighbors=n_neighbors),
        "continuity": continuity(X, Z, n_neighbors=n_neighbors),
        "neighbor_recall": neighbor_recall(X, Z, n_neighbors=n_neighbors),
        "coranking_auc": coranking_curve(X, Z).auc,
        "shepard_correlation": shepard_correlation(X, Z, random_state=seed),
        "triplet_accuracy": triplet_accuracy(X, Z, random_state=seed),
    }


def _label_accuracy(
    voters: tuple[Any, Any] | None, Z: Any, y: Any, n_neighbors: int
) -> float:
    """Return how often voters name a label, each row's others where there are none."""
    if voters is None:
        return neighbor_label_accuracy(Z, y, n_neighbors=n_neighbors)
    return neighbor_label_accuracy(*voters, Z_test=Z, y_test=y, n_neighbors=n_neighbors)


def _round_trips(manifold: Any, X: Any, Z: Any) -> dict[str, float]:
    back = manifold.inverse_transform(Z)
    error = round_trip_error(X, back)
    if container_of(back) is None:  # or scikit-learn warns of names that are lost
        columns = getattr(X, "columns", None)
        back = to_container(np.asarray(back), container_of(X), columns)
    latent_error = round_trip_error(Z, manifold.transform(back))
    return {"round_trip_error": error, "latent_round_trip_error": latent_error}
