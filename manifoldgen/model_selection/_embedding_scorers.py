"""Scorers that judge a fitted manifold by its map of held-out rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._validation import check_choice, check_int
from ..latent import invertible_part, without_generator
from ..metrics import (
    continuity,
    neighbor_label_accuracy,
    neighbor_recall,
    round_trip_error,
    shepard_correlation,
    triplet_accuracy,
    trustworthiness,
)

_OF_NEIGHBORS: dict[str, Callable[..., float]] = {
    "trustworthiness": trustworthiness,
    "continuity": continuity,
    "neighbor_recall": neighbor_recall,
}
_OF_DRAWS: dict[str, Callable[..., float]] = {
    "shepard": shepard_correlation,
    "triplet": triplet_accuracy,
}
_METRICS = (*_OF_NEIGHBORS, *_OF_DRAWS, "label_accuracy", "round_trip")


def embedding_scorer(
    metric: str, *, n_neighbors: int = 15, random_state: int = 0
) -> "EmbeddingScorer":
    """Return a scorer of coordinates of held-out rows, for ``scoring=``.

    The scorer transforms the rows that it is given and compares the map with the rows
    themselves, so it serves every manifold, stock transformer and Pipeline with
    `transform`; of a Pipeline that ends in a generator it takes the steps before that.
    Columns of the rows count in their own units: scale those that have different ones
    before the search.

    Parameters
    ----------
    metric : {"trustworthiness", "continuity", "neighbor_recall", "shepard", \
"triplet", "label_accuracy", "round_trip"}
        Higher is better. The first three tell whether who is near stays near, the next
        two how well the whole is kept. "label_accuracy" needs `y`: the nearest of the
        held-out rows name the label of each. "round_trip" is minus the
        `round_trip_error` of the data and needs `inverse_transform`. All but
        "label_accuracy" grow with the width by nature, to the last column, so they
        compare maps of one width.
    n_neighbors : int, default=15
        For the first three and "label_accuracy". Each fold needs more rows than that,
        and more than twice as many for "trustworthiness" and "continuity".
    random_state : int, default=0
        Seed of the pairs of "shepard" and the triplets of "triplet": one for all
        candidates, folds and workers.

    Returns
    -------
    scorer : EmbeddingScorer
        A callable ``scorer(estimator, X, y=None) -> float`` that can be pickled.

    Raises
    ------
    ValueError
        If `metric` is unknown or a number is out of bounds.

    See Also
    --------
    generation_scorer : Judges what a pipeline generates.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from manifoldgen import embedding_scorer, one_standard_error
    >>> X, y = load_digits(return_X_y=True)
    >>> search = GridSearchCV(
    ...     PCA(),
    ...     {"n_components": [2, 8, 16, 32]},
    ...     scoring=embedding_scorer("label_accuracy"),
    ...     refit=one_standard_error("n_components"),
    ...     cv=3,
    ... )
    >>> search.fit(X, y).best_params_
    {'n_components': 16}
    """
    return EmbeddingScorer(metric, n_neighbors, random_state)


@dataclass(frozen=True)
class EmbeddingScorer:
    """What `embedding_scorer` returns: data that a worker process can be sent.

    Parameters
    ----------
    metric : {"trustworthiness", "continuity", "neighbor_recall", "shepard", \
"triplet", "label_accuracy", "round_trip"}
        What is measured.
    n_neighbors : int, default=15
        Neighbours, where the metric has them.
    random_state : int, default=0
        Seed of what is drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import embedding_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> scorer = embedding_scorer("label_accuracy", n_neighbors=5)
    >>> scorer.metric, scorer.n_neighbors, scorer.random_state
    ('label_accuracy', 5, 0)
    >>> round(scorer(PCA(2).fit(X[::2]), X[1::2], y[1::2]), 2)
    0.97
    """

    metric: str
    n_neighbors: int = 15
    random_state: int = 0

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, _METRICS)
        check_int(
            "random_state",
            self.random_state,
            low=0,
            high=2**32 - 1,
            hint="One seed judges all candidates, in every worker.",
        )
        check_int("n_neighbors", self.n_neighbors)

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        """Return the metric of the map that `estimator` makes of `X`.

        Parameters
        ----------
        estimator : manifold, transformer or Pipeline
            Fitted.
        X : array-like of shape (n_samples, n_features), or images
            Held-out rows.
        y : array-like of shape (n_samples,), default=None
            Labels, for "label_accuracy" alone.

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        TypeError
            If the estimator has no `transform`, or no `inverse_transform` for
            "round_trip".
        ValueError
            If "label_accuracy" gets no labels, or there are too few rows.
        """
        if self.metric == "round_trip":
            manifold = invertible_part(estimator)
            return -round_trip_error(
                X, manifold.inverse_transform(manifold.transform(X))
            )
        manifold = without_generator(estimator)
        if not hasattr(manifold, "transform"):
            raise TypeError(
                f"estimator must have transform or be a Pipeline of transformers and "
                f"a generator, got {type(estimator).__name__}."
            )
        return self._of_map(X, manifold.transform(X), y)

    def _of_map(self, X: Any, Z: Any, y: Any) -> float:
        if self.metric in _OF_DRAWS:
            return _OF_DRAWS[self.metric](X, Z, random_state=self.random_state)
        if self.metric in _OF_NEIGHBORS:
            return _OF_NEIGHBORS[self.metric](X, Z, n_neighbors=self.n_neighbors)
        if y is None:
            raise ValueError(
                'metric="label_accuracy" needs labels. Give y to fit of the search.'
            )
        return neighbor_label_accuracy(Z, y, n_neighbors=self.n_neighbors)
