"""Figures of merit put together as plain data: quality, detection, search."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_array, resample
from sklearn.utils.validation import check_is_fitted

from ._arrays import column_moments, container_of, flatten_images, to_container
from ._random import draw_seed, random_state_of
from ._validation import check_int
from .latent import without_generator
from .metrics import (
    continuity,
    coranking_curve,
    energy_distance,
    near_copy_share,
    neighbor_label_accuracy,
    neighbor_recall,
    precision_recall_density_coverage,
    round_trip_error,
    shepard_correlation,
    triplet_accuracy,
    trustworthiness,
)


def generation_report(
    samples: Mapping[str, Any],
    X_real: Any,
    X_train: Any,
    *,
    n_neighbors: int = 5,
) -> dict[str, dict[str, float]]:
    """Return how near several sets of rows come to real ones.

    Put real rows that no model has seen among the samples: what they get is what a
    perfect generator would get.

    Parameters
    ----------
    samples : mapping of str to array-like of shape (n_samples, n_features)
        Rows by the name of what made them, as many as in `X_real`.
    X_real : array-like of shape (n_samples, n_features)
        Held-out rows, in units that make columns comparable.
    X_train : array-like of shape (n_train, n_features)
        Rows that the generators were fitted on, for the share of near-copies.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to, for all but the last two figures.

    Returns
    -------
    report : dict of str to dict of str to float
        By name: ``coverage``, ``density``, ``precision`` and ``recall`` (shares, higher
        is better), ``energy_distance`` (units of the data, lower is better) and
        ``near_copies`` (a share, best where it is that of unseen real rows).

    Raises
    ------
    ValueError
        If the columns do not match, or there are too few rows.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> train, real, more, far = rng.normal(size=(4, 200, 2))
    >>> report = generation_report({"real": more, "far": far + 9}, real, train)
    >>> report["far"]["coverage"], bool(report["real"]["coverage"] > 0.9)
    (0.0, True)
    """
    report = {}
    for name, rows in samples.items():
        shares = precision_recall_density_coverage(
            X_real, rows, n_neighbors=n_neighbors
        )
        report[name] = {
            "coverage": shares.coverage,
            "density": shares.density,
            "precision": shares.precision,
            "recall": shares.recall,
            "energy_distance": energy_distance(X_real, rows),
            "near_copies": near_copy_share(X_train, rows),
        }
    return report


def corrupted_rows(
    X: Any, *, image: bool = False, noise: float = 0.25, random_state: Any = None
) -> dict[str, NDArray[np.float64]]:
    """Return copies of rows, each spoilt in a way that a detector should find.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), or images
    image : bool, default=False
        Whether the features of a row are pixels, with one scale for all of them.
    noise : float, default=0.25
        Standard deviation of the noise, as a share of the range of the pixels of
        images, and in standard deviations of each column of other rows.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    corrupted : dict of str to ndarray of shape (n_samples, n_features), float64
        "noise" adds Gaussian noise. "shuffled" permutes the pixels of each image, or
        the values of each column of other rows, which leaves every column as it was
        and breaks what ties them. "inverted" turns low values into high ones, within
        the range of the pixels or of the column. Images stay in their range.

    Examples
    --------
    >>> rows = [[0.0, 1.0], [0.5, 1.0]]
    >>> corrupted_rows(rows, image=True, random_state=0)["inverted"].tolist()
    [[1.0, 0.0], [0.5, 0.0]]
    """
    rows = check_array(flatten_images(X)[0], dtype=np.float64)
    rng = random_state_of(random_state)
    axis = None if image else 0
    low, high = rows.min(axis=axis), rows.max(axis=axis)
    unit = high - low if image else column_moments(rows)[1]
    noisy = rows + noise * unit * rng.standard_normal(rows.shape)
    order = rng.random_sample(rows.shape).argsort(axis=1 if image else 0)
    return {
        "noise": np.clip(noisy, low, high) if image else noisy,
        "shuffled": np.take_along_axis(rows, order, axis=1 if image else 0),
        "inverted": low + high - rows,
    }


def detection_report(
    scorers: Mapping[str, Any], X_normal: Any, abnormal: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return how well scores tell normal rows from several kinds of others.

    Parameters
    ----------
    scorers : mapping of str to estimator
        Fitted, with `score_samples`, high for normal rows.
    X_normal : array-like of shape (n_normal, n_features)
        Rows like those of training, which no scorer has seen.
    abnormal : mapping of str to array-like of shape (n_abnormal, n_features)
        Rows to be found, by kind.

    Returns
    -------
    report : dict of str to dict of str to float
        Area under the ROC curve by scorer and kind: the share of pairs of a normal and
        another row in which the normal one scores higher. 1 finds all, 0.5 is chance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> scorers = {"mixture": GaussianMixture().fit(X[:100])}
    >>> detection_report(scorers, X[100:], {"far": X[100:] + 9})
    {'mixture': {'far': 1.0}}
    """
    report: dict[str, dict[str, float]] = {}
    for name, scorer in scorers.items():
        normal = scorer.score_samples(X_normal)
        report[name] = {
            kind: _auroc(normal, scorer.score_samples(rows))
            for kind, rows in abnormal.items()
        }
    return report


def _auroc(normal: NDArray[Any], abnormal: NDArray[Any]) -> float:
    is_normal = np.r_[np.ones(len(normal)), np.zeros(len(abnormal))]
    return float(roc_auc_score(is_normal, np.r_[normal, abnormal]))


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


def search_report(search: Any, parameter: str) -> list[dict[str, Any]]:
    """Return the candidates of a fitted search, in rising order of one parameter.

    Parameters
    ----------
    search : GridSearchCV or RandomizedSearchCV
        Fitted.
    parameter : str
        Name as in the search.

    Returns
    -------
    rows : list of dict
        For each candidate its ``value``; for each metric of the search (``score``
        where it has no name) the mean over the splits as ``<metric>`` and the
        standard error of that mean, ``std_test / sqrt(n_splits)``, as
        ``<metric>_error``; ``fit_seconds`` for one split; and whether it was
        ``chosen``.

    Raises
    ------
    ValueError
        If `parameter` was not searched.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> X, _ = load_iris(return_X_y=True)
    >>> search = GridSearchCV(PCA(), {"n_components": [2, 1]}, cv=2).fit(X)
    >>> [row["value"] for row in search_report(search, "n_components")]
    [1, 2]
    """
    check_is_fitted(search, "cv_results_")
    results = search.cv_results_
    if f"param_{parameter}" not in results:
        raise ValueError(f"parameter must be one that was searched, got {parameter!r}.")
    start = "mean_test_"
    metrics = [key.removeprefix(start) for key in results if key.startswith(start)]
    rows = []
    for index, candidate in enumerate(results["params"]):
        row = {"value": candidate[parameter]}
        for metric in metrics:
            row[metric] = float(results[f"mean_test_{metric}"][index])
            error = results[f"std_test_{metric}"][index] / np.sqrt(search.n_splits_)
            row[f"{metric}_error"] = float(error)
        row["fit_seconds"] = float(results["mean_fit_time"][index])
        row["chosen"] = bool(index == search.best_index_)
        rows.append(row)
    return sorted(rows, key=lambda row: row["value"])
