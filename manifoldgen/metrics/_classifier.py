"""What classifiers say of generated rows: alike, useful, and of every class."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .._arrays import flatten_images
from .._validation import check_real
from ._rows import Features, feature_rows, labels_of, same_columns, two_samples

_Rows = NDArray[np.float64]


class TwoSampleTest(NamedTuple):
    """How well a classifier tells two samples apart, by name.

    Parameters
    ----------
    accuracy : float
        On held-out rows, as many of either sample; 0.5 is chance.
    p_value : float
        Probability of as many right answers if both samples are of one distribution.
    n_test : int
        How many rows were held out.
    """

    accuracy: float
    p_value: float
    n_test: int


class SyntheticTraining(NamedTuple):
    """Accuracies on real rows after training on generated and on real ones, by name.

    Parameters
    ----------
    accuracy : float
        Of the classifier that was trained on generated rows.
    real_accuracy : float
        Of the same one trained on real rows.
    ratio : float
        The first over the second; 1 where generated rows are worth as much.
    """

    accuracy: float
    real_accuracy: float
    ratio: float


class ModeCoverage(NamedTuple):
    """How often each class occurs among generated rows, by name.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels of the real rows, sorted.
    shares : ndarray of shape (n_classes,), float64
        Share of the generated rows that the classifier gives each of them.
    real_shares : ndarray of shape (n_classes,), float64
        Share of the real rows that have it.
    ratios : ndarray of shape (n_classes,), float64
        The first over the second.
    n_covered : int
        How many classes have a ratio of `least` or more.
    kl_divergence : float
        ``sum(shares * log(shares / real_shares))``, in nats.
    """

    classes: NDArray[Any]
    shares: NDArray[np.float64]
    real_shares: NDArray[np.float64]
    ratios: NDArray[np.float64]
    n_covered: int
    kl_divergence: float


def classifier_two_sample_test(
    X_real: Any,
    X_generated: Any,
    *,
    classifier: Any = None,
    test_size: float = 0.5,
    features: Features = None,
    random_state: Any = 0,
) -> TwoSampleTest:
    """Test whether a classifier can tell generated rows from real ones.

    It is trained on one part of both samples and asked about the other. Where the
    samples are of one distribution it cannot do better than chance, so a small
    p-value shows that they are not, and the accuracy shows by how much. Rows of the
    larger sample are drawn until both have as many.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_features)
        Real rows that the generator was not fitted on; images are flattened.
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows.
    classifier : estimator, default=None
        Any classifier of scikit-learn's kind, which is cloned. None takes 100 gradient
        boosted trees, which see more than means at any scale of the columns, in
        seconds for 10,000 rows of 128; pixels are better served by `features`.
    test_size : float, default=0.5
        Share of the rows that are held out, in (0, 1).
    features : callable, default=None
        Maps either sample, as it was given, to an array with one row of features for
        each of its rows, which is then compared in its place.
    random_state : int, RandomState or None, default=0
        What decides which rows are held out, and seeds the classifier where its own
        `random_state` is None.

    Returns
    -------
    result : TwoSampleTest
        Named tuple with `accuracy`, `p_value` and `n_test`.

    Raises
    ------
    ValueError
        If a sample has fewer than 4 rows, `test_size` is out of bounds, the columns do
        not match, a value is not finite, or `features` does not return one row for
        each.

    References
    ----------
    .. [1] D. Lopez-Paz, M. Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017,
       arXiv:1610.06545, section 3. Their p-value takes answers as tosses of a coin;
       as many rows of either sample are held out, so that given how many of them are
       called generated the right ones are hypergeometric, and ours is that of
       Fisher's exact test: valid for any number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import classifier_two_sample_test
    >>> rng = np.random.default_rng(0)
    >>> real, generated = rng.standard_normal((2, 400, 2))
    >>> classifier_two_sample_test(real, generated).p_value > 0.05
    True
    >>> generated[:, 1] = generated[:, 0] + 0.1 * generated[:, 1]
    >>> classifier_two_sample_test(real, generated).p_value < 1e-9
    True
    """
    from scipy.stats import hypergeom
    from sklearn.ensemble import HistGradientBoostingClassifier

    from .._random import random_state_of  # loads torch

    share = check_real("test_size", test_size, low=0.0, high=1.0, closed="neither")
    samples = two_samples(
        X_real, X_generated, "X_real", "X_generated", min_rows=4, features=features
    )
    rng = random_state_of(random_state)
    if classifier is None:
        classifier = HistGradientBoostingClassifier(early_stopping=False)
    model = _seeded(classifier, rng)
    n = min(map(len, samples))
    n_test = min(max(1, round(share * n)), n - 1)
    drawn = [rows[rng.permutation(len(rows))[:n]] for rows in samples]
    model.fit(
        np.concatenate([rows[n_test:] for rows in drawn]),
        np.repeat([0, 1], n - n_test),
    )
    said = [
        int(np.sum(np.asarray(model.predict(rows[:n_test])) == 1)) for rows in drawn
    ]
    return TwoSampleTest(
        accuracy=(n_test - said[0] + said[1]) / (2 * n_test),
        p_value=float(hypergeom.sf(said[1] - 1, 2 * n_test, n_test, sum(said))),
        n_test=2 * n_test,
    )


def train_on_synthetic(
    X_generated: Any,
    y_generated: Any,
    X_test: Any,
    y_test: Any,
    *,
    X_train: Any,
    y_train: Any,
    classifier: Any = None,
    features: Features = None,
    random_state: Any = 0,
) -> SyntheticTraining:
    """Return how well a classifier trained on generated rows does on real ones.

    The same classifier is trained on generated rows and on real ones, and both are
    tested on real rows: whether generated rows with their labels can stand in for
    real ones in another task.

    Parameters
    ----------
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows; images are flattened.
    y_generated : array-like of shape (n_generated,)
        The labels that they were asked for: numbers or strings.
    X_test : array-like of shape (n_test, n_features)
        Real rows that no model was fitted on.
    y_test : array-like of shape (n_test,)
        Their labels.
    X_train : array-like of shape (n_train, n_features)
        Real rows that the generator was fitted on; as many as are generated make the
        comparison fair.
    y_train : array-like of shape (n_train,)
        Their labels.
    classifier : estimator, default=None
        Any classifier of scikit-learn's kind, which is cloned. None takes a logistic
        regression of standardised columns.
    features : callable, default=None
        Maps each of the samples, as it was given, to an array with one row of features
        for each of its rows, which is then taken in its place.
    random_state : int, RandomState or None, default=0
        Seeds the classifiers, both alike, where their own `random_state` is None.

    Returns
    -------
    result : SyntheticTraining
        Named tuple with `accuracy`, `real_accuracy` and `ratio`.

    Raises
    ------
    ValueError
        If generated or real rows have one class only, `y_generated` or `y_test` a
        label that `y_train` has not, the columns do not match, a value is not finite,
        or `features` does not return one row for each; or if training on real rows
        teaches the classifier nothing.

    References
    ----------
    .. [1] C. Esteban, S. L. Hyland, G. Rätsch, "Real-valued (Medical) Time Series
       Generation with Recurrent Conditional GANs", 2017, arXiv:1706.02633, section 4.2
       (train on synthetic, test on real).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from manifoldgen import train_on_synthetic
    >>> X, y = load_iris(return_X_y=True)
    >>> blurred = X[::2] + 0.01
    >>> found = train_on_synthetic(
    ...     blurred, y[::2], X[1::2], y[1::2], X_train=X[::2], y_train=y[::2]
    ... )
    >>> round(found.ratio, 1)
    1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from .._random import draw_seed, random_state_of  # loads torch

    generated, train = two_samples(
        X_generated, X_train, "X_generated", "X_train", features=features
    )
    test = feature_rows("X_test", X_test, features)
    same_columns("X_train", train, "X_test", test)
    truth = labels_of("y_test", y_test, "X_test", len(test))
    asked = _classes_in("y_generated", y_generated, "X_generated", generated)
    labels = _classes_in("y_train", y_train, "X_train", train)
    for name, others in (("y_generated", asked), ("y_test", truth)):
        _check_known(name, others, np.unique(labels), "y_train")
    if classifier is None:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    seed = draw_seed(random_state_of(random_state))

    def accuracy(rows: _Rows, y: NDArray[Any]) -> float:
        model = _seeded(classifier, random_state_of(seed)).fit(rows, y)
        return float(np.mean(model.predict(test) == truth))

    synthetic, real = accuracy(generated, asked), accuracy(train, labels)
    if real == 0.0:
        raise ValueError(
            "classifier must learn something from X_train, to compare with, got no row "
            "of X_test right. Check that y_test belongs to X_test."
        )
    return SyntheticTraining(synthetic, real, synthetic / real)


def mode_coverage(
    X_generated: Any,
    classifier: Any,
    *,
    y_real: Any,
    least: float = 0.5,
    features: Features = None,
) -> ModeCoverage:
    """Return how often each class occurs among generated rows, and among real ones.

    A classifier names each generated row. A generator that collapses leaves classes
    out; the divergence also tells of those that it makes too often.

    Parameters
    ----------
    X_generated : array-like of shape (n_generated, n_features)
        Generated rows, or images.
    classifier : estimator or callable
        A fitted classifier with `predict`, which gets images flattened, or a callable
        that returns one label for each row and gets the rows as they were given; both
        get what `features` returns where it is given.
    y_real : array-like of shape (n_real,)
        Labels of real rows: numbers or strings.
    least : float, default=0.5
        A class is covered where its share is this part of the real one or more, in
        (0, 1].
    features : callable, default=None
        Maps the generated rows, as they were given, to an array with one row of
        features for each of them.

    Returns
    -------
    result : ModeCoverage
        Named tuple with `classes`, `shares`, `real_shares`, `ratios`, `n_covered` and
        `kl_divergence`: 0 where all shares agree, ``log(1 / real_share)`` where one
        class is all there is.

    Raises
    ------
    ValueError
        If the classifier does not return one label for each row, or one that `y_real`
        has not, `least` is out of bounds, or `features` does not return one row for
        each.

    References
    ----------
    .. [1] L. Metz, B. Poole, D. Pfau, J. Sohl-Dickstein, "Unrolled Generative
       Adversarial Networks", ICLR 2017, arXiv:1611.02163, section 3.3.1, where a mode
       counts from its first row on.
    .. [2] Z. Lin, A. Khetan, G. Fanti, S. Oh, "PacGAN: The power of two samples in
       generative adversarial networks", NeurIPS 2018, arXiv:1712.04086, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from manifoldgen import mode_coverage
    >>> result = mode_coverage(
    ...     [[-2.0], [-1.0], [-3.0], [4.0]],
    ...     lambda X: np.where(np.ravel(X) < 0, "low", "high"),
    ...     y_real=["low", "high", "high", "low"],
    ... )
    >>> result.classes.tolist(), result.ratios.tolist(), result.n_covered
    (['high', 'low'], [0.5, 1.5], 2)
    """
    least = check_real("least", least, low=0.0, high=1.0, closed="right")
    real = labels_of("y_real", y_real, "the real sample", len(y_real))
    said = _said_of(X_generated, classifier, features)
    classes, counts = np.unique(real, return_counts=True)
    _check_known("classifier", said, classes, "y_real")
    shares = np.array([np.mean(said == label) for label in classes])
    real_shares = counts / counts.sum()
    ratios = shares / real_shares
    there = shares > 0
    divergence = float(np.sum(shares[there] * np.log(ratios[there])))
    covered = int(np.sum(ratios >= least))
    return ModeCoverage(
        classes, shares, real_shares, ratios, covered, max(0.0, divergence)
    )


def _seeded(classifier: Any, rng: np.random.RandomState) -> Any:
    """Return an unfitted copy whose random states that are None have a seed."""
    from .._random import draw_seed  # loads torch

    model = clone(classifier)
    unset = [
        name
        for name, value in sorted(model.get_params(deep=True).items())
        if value is None and name.split("__")[-1] == "random_state"
    ]
    return model.set_params(**{name: draw_seed(rng) for name in unset})


def _classes_in(name: str, y: Any, rows_name: str, rows: _Rows) -> NDArray[Any]:
    labels = labels_of(name, y, rows_name, len(rows))
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"{name} must have at least 2 classes to tell apart, got "
            f"{labels.tolist()[0]!r} alone."
        )
    return labels


def _check_known(
    name: str, labels: NDArray[Any], classes: NDArray[Any], home: str
) -> None:
    """Raise where a label is not among the classes; numbers are no strings."""
    known = set(classes.tolist())
    strange = [label for label in np.unique(labels).tolist() if label not in known]
    if strange:
        verb = "return" if name == "classifier" else "hold"
        raise ValueError(
            f"{name} must {verb} labels that {home} has, "
            f"{', '.join(map(repr, sorted(known)[:10]))}, got {strange[0]!r}."
        )


def _said_of(X: Any, classifier: Any, features: Features) -> NDArray[Any]:
    """Return the label that a classifier gives each row."""
    rows = X if features is None else feature_rows("X_generated", X, features)
    if hasattr(classifier, "predict"):
        said = classifier.predict(flatten_images(rows)[0])
    elif callable(classifier):
        said = classifier(rows)
    else:
        raise TypeError(
            "classifier must be a fitted classifier or a callable that returns labels, "
            f"got {classifier!r}."
        )
    return labels_of("classifier(X_generated)", said, "X_generated", len(rows))
