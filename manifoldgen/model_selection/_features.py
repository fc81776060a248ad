"""Features chosen for finding outliers, without any outlier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from .._random import draw_seed, random_state_of
from .._validation import check_int
from ..base import seeded_clone
from ..outliers import MahalanobisScorer

_HELD_OUT = 0.25  # of the rows, where cv is None


@dataclass(frozen=True)
class FeatureSelection:
    """What `select_features` found.

    Attributes
    ----------
    best_name : str
        Name of the candidate with the highest mean AUROC.
    best_estimator : transformer
        That candidate, fitted on all rows of all classes where it was not fitted.
    names : tuple of str
        Names of the candidates, in the order in which they were given.
    classes : ndarray of shape (n_classes,)
        The classes, each of which was held out once.
    auroc : ndarray of shape (n_candidates, n_classes), float64
        Area under the ROC curve of held-out rows of a class against those of all
        others, mean over the splits. 0.5 is chance.
    refitted : tuple of bool
        Whether a candidate was fitted anew without each class. One that came fitted
        was not, and may have learned from the rows that it was judged by.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import FeatureSelection
    >>> table = np.array([[0.5, 0.6], [0.9, 1.0]])
    >>> classes = np.array(["cat", "dog"])
    >>> found = FeatureSelection("b", None, ("a", "b"), classes, table, (True, True))
    >>> {name: round(mean, 2) for name, mean in found.mean_auroc.items()}
    {'a': 0.55, 'b': 0.95}
    >>> print(found)
        mean    cat    dog
    a  0.550  0.500  0.600
    b  0.950  0.900  1.000 <- best
    """

    best_name: str
    best_estimator: Any
    names: tuple[str, ...]
    classes: NDArray[Any]
    auroc: NDArray[np.float64]
    refitted: tuple[bool, ...]

    @property
    def mean_auroc(self) -> dict[str, float]:
        """Mean over the classes, by name of the candidate."""
        means = self.auroc.mean(axis=1)
        return {name: float(mean) for name, mean in zip(self.names, means, strict=True)}

    def __str__(self) -> str:
        width = max(map(len, self.names))
        heads = [str(label)[:6].rjust(6) for label in self.classes]
        lines = [" ".join([" " * width, "  mean", *heads])]
        for name, row in zip(self.names, self.auroc, strict=True):
            figures = [f"{value:6.3f}" for value in (row.mean(), *row)]
            mark = " <- best" if name == self.best_name else ""
            lines.append(" ".join([name.ljust(width), *figures]) + mark)
        return "\n".join(lines)


def select_features(
    candidates: Mapping[str, Any] | Sequence[tuple[str, Any]],
    X: Any,
    y: Any,
    *,
    scorer: Any = None,
    cv: Any = None,
    random_state: Any = None,
) -> FeatureSelection:
    """Choose the features in which a class that nobody saw lies farthest from the rest.

    Each class in turn plays the outliers: features and scorer are fitted on training
    rows of the other classes, and the scorer ranks held-out rows of these against those
    of the class. No outlier is needed, and none of those that will be met is looked at;
    what tells classes apart may still not be what tells them from other things.

    Parameters
    ----------
    candidates : dict of str to transformer, or sequence of (str, transformer)
        Extractors of other layers or widths, Pipelines, or any other transformer. One
        that is not fitted is fitted anew without each class, in each split, on rows and
        labels; one that is fitted is taken as it is, in one pass, see `refitted` of the
        result.
    X : array-like of shape (n_samples, n_features) or images
        Training rows, of which none is an outlier.
    y : array-like of shape (n_samples,)
        Their classes, two at least, and three for transformers that need two.
    scorer : outlier detector, default=None
        Has ``fit(features, y)`` and ``score_samples(features)``, high for normal rows.
        None is ``MahalanobisScorer(class_conditional=True)``, of two classes without
        `class_conditional`, for one is left.
    cv : int or splitter, default=None
        How rows are held out: folds of each class alike, or an object with
        ``split(X, y)``. None holds out a quarter, once.
    random_state : int, RandomState or None, default=None
        Seed of the splits, and of candidates and scorers whose own is None.

    Returns
    -------
    selection : FeatureSelection

    Raises
    ------
    TypeError, ValueError
        If there is no candidate, one is no transformer, two have one name, y has fewer
        than 2 classes or a class too few rows to hold some out.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from manifoldgen import select_features
    >>> X, y = load_digits(return_X_y=True)
    >>> widths = {f"pca {k}": PCA(k, random_state=0) for k in (1, 20)}
    >>> found = select_features(widths, X[:600], y[:600], random_state=0)
    >>> found.best_name, found.best_estimator.n_components_
    ('pca 20', 20)
    >>> found.auroc.shape
    (2, 10)
    """
    known = _named(candidates)
    if y is None:
        raise ValueError(
            "y must hold the class of each row, each of which plays the outliers in "
            "turn, got None."
        )
    labels = column_or_1d(y)
    check_consistent_length(X, labels)
    rng = random_state_of(random_state)
    classes = _classes(labels)
    splits = list(_splits(cv, labels, draw_seed(rng)))
    seed = draw_seed(rng)
    judge = scorer
    if judge is None:
        judge = MahalanobisScorer(class_conditional=len(classes) > 2)
    fitted = tuple(_is_fitted(estimator) for estimator in known.values())
    table = np.array(
        [
            _aurocs(estimator, is_fitted, judge, X, labels, classes, splits, seed)
            for estimator, is_fitted in zip(known.values(), fitted, strict=True)
        ]
    )
    best = int(table.mean(axis=1).argmax())
    name = tuple(known)[best]
    estimator = known[name]
    if not fitted[best]:
        estimator = seeded_clone(estimator, np.random.RandomState(seed)).fit(X, labels)
    refitted = tuple(not is_fitted for is_fitted in fitted)
    return FeatureSelection(name, estimator, tuple(known), classes, table, refitted)


def _named(candidates: Any) -> dict[str, Any]:
    """Return candidates by name, checked."""
    pairs = candidates.items() if isinstance(candidates, Mapping) else candidates
    message = (
        "candidates must be a dict of names and transformers, or a sequence of (name, "
        f"transformer), got {candidates!r}."
    )
    try:
        known = [(name, estimator) for name, estimator in pairs]
    except (TypeError, ValueError) as error:
        raise TypeError(message) from error
    if not known:
        raise ValueError(f"{message} Name one at least.")
    for name, estimator in known:
        parts = (hasattr(estimator, "fit"), hasattr(estimator, "transform"))
        if not isinstance(name, str) or isinstance(estimator, type) or not all(parts):
            raise TypeError(
                f"candidates must hold names and transformers, got {name!r}: "
                f"{estimator!r}."
            )
    if len(dict(known)) < len(known):
        raise ValueError("candidates must have names of their own, got one twice.")
    return dict(known)


def _classes(labels: NDArray[Any]) -> NDArray[Any]:
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ValueError(
            "y must have 2 classes at least, of 2 rows each, one to hold out, got "
            f"{len(classes)} classes, the smallest of {counts.min()} rows."
        )
    return classes


def _splits(
    cv: Any, labels: NDArray[Any], seed: int
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the training and the held-out rows of each split, by index."""
    rows = np.zeros(len(labels))
    if hasattr(cv, "split"):
        return cv.split(rows, labels)
    if cv is None:
        once = StratifiedShuffleSplit(1, test_size=_HELD_OUT, random_state=seed)
        return once.split(rows, labels)
    check_int("cv", cv, 2, hint="Or pass None, or a splitter of scikit-learn.")
    folds = StratifiedKFold(cv, shuffle=True, random_state=seed)
    return folds.split(rows, labels)


def _is_fitted(estimator: Any) -> bool:
    if isinstance(estimator, Pipeline):  # which asks its last step, that may learn none
        return all(_is_fitted(step) for _, step in estimator.steps)
    if not hasattr(estimator, "fit"):
        return True  # "passthrough"
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _aurocs(
    estimator: Any,
    is_fitted: bool,
    scorer: Any,
    X: Any,
    labels: NDArray[Any],
    classes: NDArray[Any],
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    seed: int,
) -> list[float]:
    """Return the mean AUROC of each class over the splits."""
    features = np.asarray(estimator.transform(X)) if is_fitted else None
    found = []
    for held in classes.tolist():
        values = []
        for train, test in splits:
            kept = train[labels[train] != held]
            if features is not None:
                seen, new = features[kept], features[test]
            else:
                fresh = _fit_without(
                    held, estimator, seed, _take(X, kept), labels[kept]
                )
                seen, new = (
                    np.asarray(fresh.transform(_take(X, at))) for at in (kept, test)
                )
            judge = seeded_clone(scorer, np.random.RandomState(seed)).fit(
                seen, labels[kept]
            )
            normal = labels[test] != held
            values.append(roc_auc_score(normal, judge.score_samples(new)))
        found.append(float(np.mean(values)))
    return found


def _fit_without(
    held: Any, estimator: Any, seed: int, rows: Any, labels: NDArray[Any]
) -> Any:
    try:
        return seeded_clone(estimator, np.random.RandomState(seed)).fit(rows, labels)
    except Exception as error:
        error.add_note(f"Raised by {estimator!r}, fitted without class {held!r}.")
        raise


def _take(X: Any, index: NDArray[np.int64]) -> Any:
    """Return rows of an array, a frame or a sequence."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    if hasattr(X, "ndim"):
        return X[index]
    return [X[k] for k in index]
