"""Scorers that judge a fitted pipeline by what it generates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from .._arrays import flatten_images
from .._validation import check_choice, check_int
from ..metrics import energy_distance, precision_recall_density_coverage
from ..pipeline import sample_from

_METRICS = ("coverage", "density", "precision", "recall", "energy")


def generation_scorer(
    metric: str,
    *,
    n_neighbors: int = 5,
    standardize: bool = True,
    random_state: int = 0,
) -> "GenerationScorer":
    """Return a scorer of generated rows against held-out ones, for ``scoring=``.

    The scorer draws as many rows as it is given, and compares the two sets in data
    space, so it can choose an encoder, a latent dimension and a generator alike. It
    serves every pipeline and generator that `sample_from` serves.

    Columns are divided by their standard deviation over the held-out rows (those that
    are constant there keep their units). These rows measure all candidates of a fold
    with one ruler, whatever the class of the candidate, and neither they nor the ruler
    reach the model.

    Parameters
    ----------
    metric : {"coverage", "density", "precision", "recall", "energy"}
        Higher is better: "energy" is minus the energy distance. "coverage" sees both
        dropped modes and bad rows, and is the one to choose a latent dimension by;
        "precision" and "density" alone reward a generator that draws few kinds of rows.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to, for all metrics but "energy". Each fold needs
        more rows.
    standardize : bool, default=True
        False takes the columns as they are, for those that share one unit: pixels.
    random_state : int, default=0
        Seed of the rows that are drawn: one for all candidates, folds and workers.

    Returns
    -------
    scorer : GenerationScorer
        A callable ``scorer(estimator, X, y=None) -> float`` that can be pickled; `y` is
        ignored, and a conditional generator draws labels as frequent as in training.

    Raises
    ------
    ValueError
        If `metric` is unknown or a number is out of bounds.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.model_selection import GridSearchCV
    >>> from manifoldgen import generation_scorer, make_generative_pipeline
    >>> X, _ = load_digits(return_X_y=True)
    >>> pipe = make_generative_pipeline(PCA(), GaussianMixture(random_state=0))
    >>> widths = {"pca__n_components": [2, 8]}
    >>> search = GridSearchCV(pipe, widths, scoring=generation_scorer("coverage"), cv=3)
    >>> search.fit(X[:600]).best_params_
    {'pca__n_components': 8}
    """
    return GenerationScorer(metric, n_neighbors, standardize, random_state)


@dataclass(frozen=True)
class GenerationScorer:
    """What `generation_scorer` returns: data that a worker process can be sent.

    Parameters
    ----------
    metric : {"coverage", "density", "precision", "recall", "energy"}
        What is measured.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to.
    standardize : bool, default=True
        Whether columns are divided by their spread over the held-out rows.
    random_state : int, default=0
        Seed of the rows that are drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KernelDensity
    >>> from manifoldgen import generation_scorer
    >>> X, _ = load_iris(return_X_y=True)
    >>> scorer = generation_scorer("energy", random_state=1)
    >>> scorer.metric, scorer.n_neighbors, scorer.standardize, scorer.random_state
    ('energy', 5, True, 1)
    >>> narrow, wide = KernelDensity(bandwidth=0.2), KernelDensity(bandwidth=5.0)
    >>> bool(scorer(narrow.fit(X), X) > scorer(wide.fit(X), X))
    True
    """

    metric: str
    n_neighbors: int = 5
    standardize: bool = True
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
        """Return the metric of rows drawn from `estimator` against `X`.

        Parameters
        ----------
        estimator : Pipeline or generator
            Fitted.
        X : array-like of shape (n_samples, n_features), or images
            Held-out rows.
        y : object, default=None
            Ignored.

        Returns
        -------
        score : float
            Higher is better.
        """
        held_out = _numbers("X", X)
        drawn = sample_from(estimator, len(held_out), random_state=self.random_state)
        ruler = StandardScaler(with_mean=False, with_std=self.standardize)
        ruler.fit(held_out)
        real = ruler.transform(held_out)
        generated = ruler.transform(_numbers("The sample", drawn))
        if self.metric == "energy":
            return -energy_distance(real, generated)
        result = precision_recall_density_coverage(
            real, generated, n_neighbors=self.n_neighbors
        )
        return float(getattr(result, self.metric))


def _numbers(name: str, X: Any) -> NDArray[np.float64]:
    return check_array(flatten_images(X)[0], dtype=np.float64, input_name=name)
