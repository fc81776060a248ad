"""Small classes filled with generated rows, as a sampler of imbalanced-learn."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags

from .._arrays import image_shape_of, refuse_channels_last
from .._conditional import check_labels_of_rows
from .._random import draw_seed, random_state_of, torch_generator
from .._validation import check_choice, check_int, check_real
from ..base import RowsMixin, seeded_clone, unchanged_on_error
from ..nn import check_augment
from ._acceptance import Judge, by_classifier, by_distance, everything
from ._behind import as_values_of, dtypes_of, labels_behind, rows_behind
from ._borrowed import BorrowedKernels
from ._drawing import draw_rows
from ._moved import changed_images
from ._sampling_strategy import rows_to_make
from ._steps import Steps, invert, label_of, require_sample, steps_of

_Draw = Callable[[NDArray[np.int64], np.random.RandomState], Any]

_MOST_COLUMNS = 64
_LEAST_SHARE = 0.1


class GenerativeAugmenter(RowsMixin, BaseEstimator):
    """Fill small classes with generated rows that pass for rows of their class.

    A sampler like those of imbalanced-learn, whose Pipeline it fits: `fit_resample`
    acts when a model is fitted, and predictions are of the rows as they are. The rows
    that are given come first, untouched; as many as `sampling_strategy` asks for
    follow.

    Without a `generator`, a new row starts from a row of its class and takes a part of
    its spread from the rows of all classes, about their means: 20 rows of a class
    tell where it is and little about its shape, which the other classes have in part.
    SMOTE stays between the rows that are there. Where classes have nothing in common,
    or many rows each, give a generator of this package.

    A filter draws more rows than are asked for and keeps those that pass.

    Images that passed may be turned, shifted and so on by `augment`. For digits that
    was the whole gain: classifiers did best behind ``smoothing=0, filter=None`` with
    `augment`, which makes moved copies and draws no other rows, and kernels added
    nothing. Where only small classes gain new rows, a network may learn to tell these
    from real ones instead of the classes; a dict or callable for `sampling_strategy`
    that lets all classes grow leaves it less of that to learn.

    Parameters
    ----------
    generator : estimator, default=None
        Has `sample`, or is a Pipeline whose last step has it; cloned. With a parameter
        `conditional`, which is set, it is fitted once, on all rows and labels; else
        once to each class that grows. Where a `random_state` of it is None, it gets
        ours. None are the borrowed kernels described above.
    sampling_strategy : str, float, dict or callable, default="auto"
        Which classes grow, and to how many rows. "minority" is the smallest class,
        "not minority" all but that one, "not majority", or "auto", all but the largest
        one, "all" every one: each to the size of the largest. A float, for two
        classes, is the size of the smaller one over that of the larger one, in (0, 1].
        A dict gives the wanted size by label. A callable takes y and returns such a
        dict.
    filter : {"mahalanobis", "classifier"} or None, default="mahalanobis"
        "mahalanobis" keeps rows whose distance to their class is that of real rows:
        within the quantile `keep` of these. It is measured in the latents of the
        generator where that is a Pipeline or a manifold fitted once, else among the
        columns; more than 64 of either are reduced to that many principal components.
        "classifier" keeps rows that `classifier` calls by the label asked for.
    keep : float, default=0.95
        Share of the real rows of a class that "mahalanobis" keeps, in (0, 1].
    classifier : estimator, default=None
        Has `fit` and `predict`; cloned and fitted on X and y. None is a logistic
        regression on standardised columns in which classes count alike.
    max_rounds : int, default=5
        How often rows are drawn, at most. What is missing then is filled with the
        best of those that did not pass, and a warning says how many.
    smoothing : float, default=0.5
        Share of the variance of a class that borrowed kernels draw anew, in [0, 1].
        0 repeats rows, 1 forgets them but for their mean.
    augment : mapping of str to float, or sequence of str, default=None
        What new rows, as images, are changed by at random once they have passed, such
        as ("rotate", "scale", "shift") or a strength for each name: see
        `manifoldgen.nn.augment`. Values stay in the range of X, 0 to 255 for uint8.
        Choose operations that keep the label.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row, for `augment`. None takes it from an
        (n, height, width) or (n, channels, height, width) array.
    random_state : int, RandomState or None, default=None
        Seed of everything that is drawn.

    Attributes
    ----------
    sampling_strategy_ : dict
        Rows to make, by label: for a class that is asked for.
    n_new_ : dict
        Rows that `fit_resample` made, by label, for classes that grew.
    n_filled_ : int
        How many of them had not passed the filter.
    acceptance_ : float
        Share of all rows drawn that passed the filter; 1 without one.
    generator_ : estimator, dict or None
        The fitted generator; one a class, by label, where it is not conditional.
        None for borrowed kernels.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    TypeError
        If `generator` does not draw, or `classifier` does not predict.
    ValueError
        If a parameter is outside its range, `image_shape` does not match, `y` holds
        one class, numbers that are measured, or missing labels, or a class that is to
        grow has one row.

    See Also
    --------
    manifoldgen.nearest_real : Shows whether new rows are copies.

    References
    ----------
    .. [1] N. Chawla, K. Bowyer, L. Hall, W. Kegelmeyer, "SMOTE: synthetic minority
           over-sampling technique", JAIR 16, 2002, which draws between neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from manifoldgen import GenerativeAugmenter
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> few = GenerativeAugmenter(random_state=0)
    >>> X_full, y_full = few.fit_resample(X[:110], y[:110])
    >>> y_full.value_counts().to_dict(), few.n_new_
    ({0: 50, 1: 50, 2: 50}, {2: 40})

    Copies of images, moved, so that each class has 40:

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> copies = GenerativeAugmenter(smoothing=0, filter=None,
    ...                              augment={"rotate": 15.0, "shift": 0.125},
    ...                              image_shape=(1, 8, 8),
    ...                              sampling_strategy={0: 40, 1: 40, 2: 40})
    >>> X_full, y_full = copies.fit_resample(X[:50], y[:50])
    >>> np.bincount(y_full).tolist()
    [40, 40, 40]
    """

    classes_: NDArray[Any]
    sampling_strategy_: dict[Any, int]

    def __init__(
        self,
        generator: Any = None,
        *,
        sampling_strategy: Any = "auto",
        filter: str | None = "mahalanobis",
        keep: float = 0.95,
        classifier: Any = None,
        max_rounds: int = 5,
        smoothing: float = 0.5,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        random_state: Any = None,
    ) -> None:
        self.generator = generator
        self.sampling_strategy = sampling_strategy
        self.filter = filter
        self.keep = keep
        self.classifier = classifier
        self.max_rounds = max_rounds
        self.smoothing = smoothing
        self.augment = augment
        self.image_shape = image_shape
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Check the rows and count those to make; `fit_resample` makes them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
        y : array-like of shape (n_samples,)
            Discrete labels.

        Returns
        -------
        self : GenerativeAugmenter
        """
        with unchanged_on_error(self):
            self._count(X, y)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return the rows with new ones behind them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Numbers: an array, a data frame, images (n, height, width) or
            (n, channels, height, width).
        y : array-like of shape (n_samples,)
            Discrete labels.

        Returns
        -------
        X_resampled : ndarray or data frame of shape (n_samples_new, n_features)
            In the container, layout and dtypes of X; new values in columns of integers
            are rounded.
        y_resampled : ndarray or series of shape (n_samples_new,)
            In the container of y, its new labels sorted.
        """
        with unchanged_on_error(self):
            rows, codes = self._count(X, y)
            wanted = np.zeros(len(self.classes_), dtype=np.int64)
            for code, label in enumerate(self.classes_.tolist()):
                wanted[code] = self.sampling_strategy_.get(label, 0)
            self._check_rows_of(np.bincount(codes), wanted)
            rng = random_state_of(self.random_state)
            rng = np.random.RandomState(draw_seed(rng))
            self.generator_, draw = self._new_drawing(rows, codes, wanted, rng)
            judge = self._new_judge(rows, codes, rng)
            dtypes = dtypes_of(X, self.n_features_in_)
            new, new_codes = self._fill(dtypes, wanted, draw, judge, rng)
            new = as_values_of(dtypes, self._changed(new, rows, draw_seed(rng)))
            grown = zip(self.classes_.tolist(), wanted.tolist(), strict=True)
            self.n_new_ = {label: n for label, n in grown if n}
        labels = self.classes_[new_codes]
        return rows_behind(X, new), labels_behind(y, labels)

    def _count(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return rows and codes of their labels, both checked."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        rows = self._validate_rows(X, reset=True, n_min=2)
        self._check_parameters()
        self._check_images(rows.shape[1])
        labels = check_labels_of_rows(y, len(rows))
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self.sampling_strategy_ = rows_to_make(self.sampling_strategy, labels)
        return rows, codes

    def _check_parameters(self) -> None:
        if self.filter is not None:
            check_choice("filter", self.filter, ("mahalanobis", "classifier"))
        check_real("keep", self.keep, 0.0, 1.0, closed="right")
        check_int("max_rounds", self.max_rounds)
        check_real("smoothing", self.smoothing, 0.0, 1.0)
        if self.generator is not None:
            try:
                require_sample(self.generator)
            except AttributeError as error:
                raise TypeError(f"generator must draw rows. {error}") from error
        for method in ("fit", "predict"):
            if self.classifier is not None and not hasattr(self.classifier, method):
                raise TypeError(
                    f"classifier must be an estimator with fit and predict, got "
                    f"{self.classifier!r}, which has no {method}."
                )

    def _check_images(self, n_features: int) -> None:
        shape = image_shape_of(self.image_shape, self._shape_in, n_features)
        if not any(check_augment(self.augment).values()):
            return
        refuse_channels_last(self.image_shape, self._shape_in)
        if min(shape[1:]) < 2:
            raise ValueError(
                "augment needs images of 2 by 2 pixels at least, got rows of shape "
                f"{shape}. Pass image_shape=(channels, height, width) or an (n, "
                "height, width) array, or set augment=None."
            )

    def _check_rows_of(
        self, counts: NDArray[np.int64], wanted: NDArray[np.int64]
    ) -> None:
        alone = np.flatnonzero((counts < 2) & (wanted > 0))
        if len(alone):
            raise ValueError(
                "sampling_strategy asks for more rows of class "
                f"{self.classes_.tolist()[alone[0]]!r}, which has 1 row; at least 2 "
                "are needed. Drop the class, or leave it out of sampling_strategy by "
                "a dict of the others."
            )

    def _new_drawing(
        self,
        rows: NDArray[Any],
        codes: NDArray[np.int64],
        wanted: NDArray[np.int64],
        rng: np.random.RandomState,
    ) -> tuple[Any, _Draw]:
        """Return the fitted generator, and what draws rows of given codes."""
        if self.generator is None:
            return None, BorrowedKernels(rows, codes, self.smoothing).draw
        X = rows if self._shape_in is None else rows.reshape(-1, *self._shape_in)
        parameters = self.generator.get_params()
        switches = [it for it in parameters if it.split("__")[-1] == "conditional"]
        if switches:
            fitted = seeded_clone(self.generator, rng)
            fitted.set_params(**dict.fromkeys(switches, True))
            fitted.fit(X, self.classes_[codes])

            def draw(asked: NDArray[np.int64], rng: np.random.RandomState) -> Any:
                return drawn_back(fitted, self.classes_[asked], len(asked), rng)

            return fitted, draw
        parts = {}
        for code in np.flatnonzero(wanted).tolist():
            parts[code] = seeded_clone(self.generator, rng)
            try:
                parts[code].fit(X[codes == code])
            except Exception as error:
                label = self.classes_.tolist()[code]
                error.add_note(f"While fitting the generator to class {label!r}.")
                raise
        by_label = {self.classes_.tolist()[code]: it for code, it in parts.items()}

        def draw_each(asked: NDArray[np.int64], rng: np.random.RandomState) -> Any:
            new = np.empty((len(asked), rows.shape[1]))
            for code in np.unique(asked).tolist():
                mine = np.flatnonzero(asked == code)
                new[mine] = drawn_back(parts[code], None, len(mine), rng)
            return new

        return by_label, draw_each

    def _new_judge(
        self, rows: NDArray[Any], codes: NDArray[np.int64], rng: np.random.RandomState
    ) -> Judge:
        """Return what says which new rows pass."""
        if self.filter is None:
            return everything
        numbers = rows if rows.dtype.kind == "f" else rows.astype(np.float32)
        if self.filter == "classifier":
            classifier = self.classifier
            if classifier is None:
                classifier = make_pipeline(
                    StandardScaler(),
                    LogisticRegression(class_weight="balanced", max_iter=1000),
                )
            classifier = seeded_clone(classifier, rng).fit(
                numbers, self.classes_[codes]
            )
            return by_classifier(classifier, self.classes_)
        steps = manifold_of(self.generator_)
        shape = self._shape_in

        def latents(rows: NDArray[Any]) -> NDArray[Any]:
            X: Any = rows if shape is None or not steps else rows.reshape(-1, *shape)
            for _, step in steps:
                X = step.transform(X)
            return np.asarray(X).reshape(len(rows), -1)

        Z = latents(rows if steps else numbers)
        n_kept = min(_MOST_COLUMNS, len(Z) - 1)
        if Z.shape[1] > max(n_kept, 1):
            steps = [*steps, ("pca", PCA(n_kept, random_state=draw_seed(rng)).fit(Z))]
            Z = steps[-1][1].transform(Z)
        judge = by_distance(Z, codes, self.keep)
        return lambda rows, asked: judge(latents(rows), asked)

    def _fill(
        self,
        dtypes: list[np.dtype],
        wanted: NDArray[np.int64],
        draw: _Draw,
        judge: Judge,
        rng: np.random.RandomState,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return as many new rows of each class as are wanted, sorted by class."""
        chosen = _Chosen(wanted)
        self.n_filled_ = 0
        for _ in range(self.max_rounds):
            asked = chosen.to_draw()
            if not len(asked):
                break
            drawn = as_values_of(dtypes, draw(asked, rng))
            chosen.add(drawn, asked, *judge(drawn, asked))
        self.acceptance_ = chosen.acceptance
        self.n_filled_ = int(chosen.missing.sum())
        if self.n_filled_:
            warnings.warn(
                f"{self.n_filled_} of {wanted.sum()} new rows did not pass filter="
                f"{self.filter!r} within max_rounds={self.max_rounds}: the best that "
                "were drawn took their place. Raise max_rounds or keep, or try another "
                "generator.",
                UserWarning,
                stacklevel=3,
            )
        return chosen.rows(self.n_features_in_)

    def _changed(
        self, new: NDArray[Any], rows: NDArray[Any], seed: int
    ) -> NDArray[Any]:
        """Return new rows after what `augment` does to them."""
        strengths = check_augment(self.augment)
        if not any(strengths.values()):
            return new
        shape = image_shape_of(self.image_shape, self._shape_in, rows.shape[1])
        limits = (0.0, 255.0)
        if rows.dtype != np.uint8:
            limits = float(rows.min()), float(rows.max())
        return changed_images(new, shape, limits, strengths, torch_generator(seed))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class _Chosen:
    """New rows by class: those that passed, and the best of those that did not."""

    def __init__(self, wanted: NDArray[np.int64]) -> None:
        self.wanted = wanted
        self.passed: list[list[NDArray[Any]]] = [[] for _ in wanted]
        self.others: list[list[tuple[NDArray[Any], NDArray[np.float64]]]] = [
            [] for _ in wanted
        ]
        self.n_passed = np.zeros_like(wanted)
        self.n_drawn = np.zeros_like(wanted)
        self.n_taken = np.zeros_like(wanted)

    @property
    def missing(self) -> NDArray[np.int64]:
        """Rows of each class that are still to pass."""
        return self.wanted - self.n_taken

    @property
    def acceptance(self) -> float:
        """Share of the rows drawn that passed."""
        n_drawn = int(self.n_drawn.sum())
        return float(self.n_passed.sum() / n_drawn) if n_drawn else 1.0

    def to_draw(self) -> NDArray[np.int64]:
        """Return the codes of rows to draw, as many as should do by the share so far.

        At most ten times what is missing.
        """
        share = (self.n_passed + 1) / (self.n_drawn + 1)
        n_ask = np.ceil(self.missing / share.clip(_LEAST_SHARE)).astype(np.int64)
        return np.repeat(np.arange(len(n_ask)), n_ask)

    def add(
        self,
        rows: NDArray[Any],
        codes: NDArray[np.int64],
        passed: NDArray[np.bool_],
        scores: NDArray[np.float64],
    ) -> None:
        """Take what passed, and remember the best of the rest."""
        missing = self.missing
        for code in np.unique(codes).tolist():
            mine = np.flatnonzero(codes == code)
            good, bad = mine[passed[mine]], mine[~passed[mine]]
            self.n_drawn[code] += len(mine)
            self.n_passed[code] += len(good)
            good = good[: missing[code]]
            self.n_taken[code] += len(good)
            self.passed[code].append(rows[good])
            best = bad[np.argsort(-scores[bad], kind="stable")[: missing[code]]]
            self.others[code].append((rows[best], scores[best]))

    def rows(self, n_features: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the rows and their codes, the best of the rest where some miss."""
        found: list[NDArray[Any]] = [np.empty((0, n_features))]
        for code, n_missing in enumerate(self.missing.tolist()):
            found += self.passed[code]
            if n_missing:
                rows, scores = map(np.concatenate, zip(*self.others[code], strict=True))
                found.append(rows[np.argsort(-scores, kind="stable")[:n_missing]])
        codes = np.repeat(np.arange(len(self.wanted)), self.wanted)
        return np.concatenate(found if len(codes) else found[:1]), codes


def drawn_back(generator: Any, y: Any, n_rows: int, rng: np.random.RandomState) -> Any:
    """Return rows of data drawn by a fitted generator or pipeline, flat."""
    *earlier, (name, last) = steps_of(generator)
    role = f"generator {label_of(name, last)}"
    rows = invert(earlier, draw_rows(last, n_rows, y, rng, role))
    return np.asarray(rows).reshape(n_rows, -1)


def manifold_of(generator: Any) -> Steps:
    """Return the fitted steps that lead to the latents of a generator fitted once."""
    if generator is None or isinstance(generator, dict):
        return []
    *earlier, last = steps_of(generator)
    return [*earlier, last] if hasattr(last[1], "transform") else earlier
