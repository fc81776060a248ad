"""Judge a fitted generator by held-out rows, and real rows by the same figures."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from .._random import draw_seed, random_state_of
from .._validation import check_bool, check_int
from ..latent import invertible_part
from ..metrics._rows import feature_rows, labels_of
from ..neighbors import nearest_neighbors
from ..pipeline import drawable_labels, sample_from
from ._figures import Case, Rows, Timed
from ._generation_report import GenerationReport

_PLANE_ROWS = 500
_EXAMPLES = 12


def evaluate_generator(
    generator: Any,
    X_test: Any,
    *,
    X_train: Any = None,
    y: Any = None,
    y_train: Any = None,
    features: Callable[[Any], Any] | None = None,
    classifier: Any = None,
    n_neighbors: int = 5,
    standardize: bool | None = None,
    random_state: Any = 0,
) -> GenerationReport:
    """Return how good a fitted generator is, with real rows judged beside it.

    As many rows are drawn as are held out, with the labels `y` where the generator
    draws by label. No figure says much alone, since all hang on the number of rows, on
    columns and on units: beside each stand what real rows in the place of generated
    ones get, and what held-out rows get after the way to latent space and back.

    Does it look real, and is nothing missing? ``frechet_distance``,
    ``kernel_distance``, ``precision``, ``recall``, ``density`` and ``coverage``.

    Does it follow the distribution? ``energy_distance`` and ``sliced_wasserstein``; how
    often a classifier tells generated rows from real ones, ``two_sample_accuracy`` (.5
    is chance) with ``two_sample_p_value``; and with labels how many classes it draws,
    ``modes_covered`` (a share of them), and how far their shares are from real ones,
    ``mode_divergence`` (nats).

    Is it useful for another task, and does it copy? ``label_agreement`` is how often a
    classifier trained on real rows finds the label that was asked for.
    ``downstream_accuracy`` is that on `X_test` of a classifier trained on the rows that
    are judged, and ``downstream_ratio`` its ratio to training on as many real rows.
    ``near_copy_share`` and ``membership_auc`` (.5 is chance, with a standard error of
    ``membership_auc_error``) tell whether it repeats training rows;
    `memorisation_report` tells more of that.

    Parameters
    ----------
    generator : Pipeline or generator
        Fitted; whatever `sample_from` takes. The way to latent space and back is judged
        where it has one.
    X_test : array-like of shape (n_samples, n_features), data frame or images
        Rows that the generator was not fitted on, more than `n_neighbors`.
    X_train : array-like of shape (n_train, n_features), default=None
        Rows that it was fitted on. As many as in `X_test` are drawn at random (all,
        where there are fewer) to be judged as "real". Without them, two halves of
        `X_test` are compared instead, which have half the rows; there is then nothing
        on copies, and nothing on training with generated rows.
    y : array-like of shape (n_samples,), default=None
        Discrete labels of `X_test`, for figures of classes.
    y_train : array-like of shape (n_train,), default=None
        Labels of `X_train`, on which classifiers are trained; without them the one that
        names generated rows is trained on `X_test`.
    features : callable, default=None
        Rows, as `X_test` has them, to an array of shape (n, n_outputs): all figures are
        then of these. Such as the last layer but one of a network that was trained on
        other rows.
    classifier : estimator, default=None
        Of scikit-learn, unfitted, for labels; None is a logistic regression on
        standardised columns.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to, for precision to coverage.
    standardize : bool, default=None
        Whether columns are divided by their standard deviation over `X_test` (those
        that are constant there keep their units). None does so unless they share one
        unit: images (n, height, width) or (n, channels, height, width), and `features`.
    random_state : int, RandomState or None, default=0
        Decides all that is drawn. An int is handed as it is to `sample_from` and to
        the metrics, so that any figure can be had alone.

    Returns
    -------
    report : GenerationReport

    Raises
    ------
    AttributeError
        If the generator has no `sample`, or a step before it cannot be inverted.
    NotFittedError
        If the generator is not fitted.
    TypeError
        If `standardize` is not a bool or None.
    ValueError
        If rows, columns or labels do not match, there are too few rows, `y` has one
        class or one that the generator never saw, or `features` returns anything but
        one finite row for each row.

    Notes
    -----
    Figures of a class need more than `n_neighbors` rows of it, and the Fréchet distance
    more rows than columns; else they are left out. No two-sample test is made of
    reconstructions, because each of them has its own original among the real rows,
    which pushes their kernel distance below 0. A classifier tells generated pixels from
    real ones, which are often exactly 0: `features` judge images better. The time grows
    with the square of the rows: 10,000 of 128 columns, and as many of training, take
    half a minute of one core.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.mixture import GaussianMixture
    >>> from manifoldgen import evaluate_generator, make_generative_pipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> pipe = make_generative_pipeline(PCA(16), GaussianMixture(10, random_state=0))
    >>> report = evaluate_generator(
    ...     pipe.fit(X[:600]), X[600:1000], X_train=X[:600], standardize=False
    ... )
    >>> for row, figures in report.figures.items():
    ...     print(row, round(figures["coverage"], 1))
    generated 0.7
    reconstruction 1.0
    real 0.8
    """
    known = drawable_labels(generator)
    k = check_int("n_neighbors", n_neighbors)
    seed = _seed_of(random_state)
    n = _n_rows("X_test", X_test, k)
    if X_train is not None:
        _n_rows("X_train", X_train, k)
    y, y_train = _check_labels(y, n, X_train, y_train)
    by_label = known is not None and y is not None
    if by_label:
        _refuse_unknown(y, known, "the generator was fitted on")
    timed = Timed()
    units = Units(X_test, features, standardize, timed)
    asked = y if by_label else None
    drawn = timed("sample_from", sample_from, generator, n, y=asked, random_state=seed)
    drawn = _in_layout(drawn, X_test, f"the rows that {type(generator).__name__} draws")
    if X_train is not None:
        X_train = _in_layout(X_train, X_test, "X_train")
    case = Case(
        real=units.of_test,
        generated=units("the generated rows", drawn),
        reconstruction=units("the reconstructions", _there_and_back(generator, X_test)),
        train=units("X_train", X_train),
        y=y,
        y_train=y_train,
        by_label=by_label,
        n_neighbors=k,
        seed=seed,
        classifier=classifier,
        timed=timed,
    )
    figures, n_samples = case.figures()
    return GenerationReport(
        figures=figures,
        n_samples=n_samples,
        n_neighbors=k,
        units=units.name,
        per_class=case.by_class(),
        seconds=timed.seconds,
        plane=_plane(case),
        examples=_examples(X_test, drawn, case),
    )


class Units:
    """Turns rows into numbers of one unit: features, or columns over their spread.

    Parameters
    ----------
    X_test : array-like
        The rows that say what the spread of a column is.
    features : callable or None
    standardize : bool or None
    timed : Timed

    Attributes
    ----------
    of_test : ndarray of shape (n, n_features), float64
        `X_test` in these units.
    name : str
        What they are.
    """

    def __init__(
        self, X_test: Any, features: Any, standardize: bool | None, timed: Timed
    ) -> None:
        self.features, self.timed = features, timed
        if standardize is None:
            standardize = features is None and len(np.shape(X_test)) == 2
        rows = self._rows("X_test", X_test)
        by_spread = check_bool("standardize", standardize)
        self.ruler = StandardScaler(with_mean=False, with_std=by_spread).fit(rows)
        self.of_test: Rows = self.ruler.transform(rows)
        unit = "divided by their spread over X_test" if by_spread else "as they are"
        what = "columns" if features is None else "features"
        self.name = f"{rows.shape[1]} {what} {unit}"

    def __call__(self, name: str, X: Any) -> Any:
        """Return rows in these units, None for None."""
        return None if X is None else self.ruler.transform(self._rows(name, X))

    def _rows(self, name: str, X: Any) -> Any:
        return self.timed("features", feature_rows, name, X, self.features)


def _seed_of(random_state: Any) -> int:
    rng = random_state_of(random_state)
    return int(random_state) if isinstance(random_state, Integral) else draw_seed(rng)


def _n_rows(name: str, X: Any, n_neighbors: int) -> int:
    shape = np.shape(X)
    if len(shape) < 2:
        raise ValueError(f"{name} must be rows of data, got an array of shape {shape}.")
    if shape[0] <= n_neighbors:
        raise ValueError(
            f"{name} must have more than n_neighbors={n_neighbors} rows, got "
            f"{shape[0]}. Take more rows, or lower n_neighbors."
        )
    return shape[0]


def _check_labels(
    y: Any, n: int, X_train: Any, y_train: Any
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if y_train is not None and (X_train is None or y is None):
        raise ValueError(
            "y_train needs X_train and y: labels of the training rows serve to judge "
            "those of the others."
        )
    if y is not None:
        y = _at_least_two(labels_of("y", y, "X_test", n))
    if y_train is not None:
        n_train = np.shape(X_train)[0]
        y_train = labels_of("y_train", y_train, "X_train", n_train)
        _refuse_unknown(y, y_train, "y_train has")
    return y, y_train


def _at_least_two(y: NDArray[Any]) -> NDArray[Any]:
    classes = np.unique(y).tolist()
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least 2 classes, got {classes}. Leave labels out to judge "
            f"rows of one class."
        )
    return y


def _refuse_unknown(y: Any, known: Any, where: str) -> None:
    known = set(known.tolist())
    unknown = [label for label in np.unique(y).tolist() if label not in known]
    if unknown:
        raise ValueError(
            f"y must hold labels that {where}, {sorted(known)}, got {unknown}. Leave "
            f"out rows with other labels."
        )


def _in_layout(rows: Any, X_test: Any, name: str) -> Any:
    """Return `rows` in the shape that a row of `X_test` has."""
    layout, given = np.shape(X_test)[1:], np.shape(rows)[1:]
    if math.prod(layout) != math.prod(given):
        raise ValueError(
            f"X_test must have as many values a row as {name}, {math.prod(given)}, got "
            f"{math.prod(layout)}."
        )
    return rows if layout == given else np.asarray(rows).reshape(-1, *layout)


def _there_and_back(generator: Any, X_test: Any) -> Any:
    """Return what is left of rows after latent space, None without a way there."""
    try:
        part = invertible_part(generator)
    except TypeError:
        return None
    back = part.inverse_transform(part.transform(X_test))
    return _in_layout(back, X_test, "reconstructions")


def _plane(case: Case) -> dict[str, NDArray[np.float64]]:
    """Return some rows of either kind on the first principal axes of the real ones."""
    width = min(2, case.real.shape[1])
    pca = PCA(width, random_state=case.seed).fit(case.real)
    order = np.random.RandomState(case.seed).permutation(len(case.real))[:_PLANE_ROWS]
    return {
        "real": pca.transform(case.real[order]),
        "generated": pca.transform(case.generated[order]),
    }


def _examples(X_test: Any, drawn: Any, case: Case) -> dict[str, NDArray[Any]]:
    """Return some generated rows, evenly chosen, and the real row nearest to each."""
    n = len(case.real)
    chosen = np.unique(np.linspace(0, n - 1, _EXAMPLES).astype(np.intp))
    nearest = nearest_neighbors(
        case.real, 1, queries=case.generated[chosen], method="exact"
    ).indices[:, 0]
    return {
        "generated": np.asarray(drawn)[chosen],
        "nearest": np.asarray(X_test)[nearest],
    }
