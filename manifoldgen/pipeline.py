"""A Pipeline that generates: draw in the last step, then invert back to the data."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from types import MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from ._arrays import container_of, flatten_images, to_container
from ._random import random_state_of
from ._validation import check_int
from .generation._drawing import draw_rows
from .generation._steps import can_draw, invert, label_of, require_sample, steps_of
from .metrics import energy_distance

_SCORE_SEED = 0
_LEARNED_IN_FIT = ("scale_", "_container", "_columns")


def sample_from(
    pipeline: Any,
    n_samples: int | None = None,
    *,
    y: Any = None,
    random_state: Any = None,
) -> Any:
    """Draw rows of data from any fitted Pipeline whose last step generates.

    Draws in the last step, then goes back through the `inverse_transform` of the steps
    before it, in the order from last to first. scikit-learn's GaussianMixture and
    KernelDensity serve as they are: labels of components are dropped, rows come in
    random order, and `random_state` decides instead of the estimator's own.

    Parameters
    ----------
    pipeline : Pipeline or generator
        A fitted Pipeline of scikit-learn or of this package, or one fitted estimator
        with `sample`.
    n_samples : int, default=None
        How many rows; None is one for each label in `y`, else 1.
    y : label or array-like of shape (n_samples,), default=None
        What the rows are conditioned on, for a last step that was fitted with
        ``conditional=True``: one label for all of them or one for each.
    random_state : int, RandomState or None, default=None
        None draws afresh at each call; numpy's global generator is left alone.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Exactly `n_samples` rows, in the shape that the `inverse_transform` of the
        first step gives them. A `GenerativePipeline` that was fitted on a data frame
        returns one with the same columns, of the same library.

        It is float64 where the first step is of scikit-learn, which adds means back
        that float32 could not hold, and float32 where it is of this package.

    Raises
    ------
    AttributeError
        If the last step has no `sample`, or a step before it cannot be inverted.
    NotFittedError
        If the pipeline is not fitted.
    ValueError
        If labels are asked of a last step that does not draw by label.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.pipeline import make_pipeline
    >>> from manifoldgen import sample_from
    >>> X, _ = load_iris(return_X_y=True)
    >>> pipe = make_pipeline(PCA(2), GaussianMixture(3, random_state=0)).fit(X)
    >>> sample_from(pipe, 100, random_state=0).shape
    (100, 4)
    """
    require_sample(pipeline)
    check_is_fitted(pipeline)
    *earlier, (name, generator) = steps_of(pipeline)
    if n_samples is None:
        n_samples = 1 if y is None or np.ndim(y) == 0 else len(y)
    n_samples = check_int("n_samples", n_samples)
    rng = random_state_of(random_state)
    role = f"last step {label_of(name, generator)}"
    rows = invert(earlier, draw_rows(generator, n_samples, y, rng, role))
    if container_of(rows) is not None:
        return rows
    container = getattr(pipeline, "_container", None)
    return to_container(rows, container, getattr(pipeline, "_columns", None))


def drawable_labels(pipeline: Any) -> NDArray[Any] | None:
    """Return the labels that a fitted generator draws rows of when asked.

    Parameters
    ----------
    pipeline : Pipeline or generator
        Fitted; what `sample_from` takes.

    Returns
    -------
    labels : ndarray of shape (n_classes,) or None
        None for one that was not fitted with ``conditional=True``, which draws
        whatever comes.

    Raises
    ------
    AttributeError
        If the last step has no `sample`, or a step before it cannot be inverted.
    NotFittedError
        If the pipeline is not fitted.

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> from manifoldgen.pipeline import drawable_labels
    >>> print(drawable_labels(GaussianMixture().fit([[0.0], [1.0]])))
    None
    """
    require_sample(pipeline)
    check_is_fitted(pipeline)
    _, generator = steps_of(pipeline)[-1]
    if "y" not in signature(generator.sample).parameters:
        return None
    # a manifold and a generator in one learns labels in the latter
    inner = getattr(generator, "generator_", None)
    return getattr(generator, "classes_", getattr(inner, "classes_", None))


def call_last(
    pipeline: Any, method: str, X: Any, *args: object, **kwargs: object
) -> Any:
    """Transform `X` by all steps but the last and hand it to a method of the last.

    A Pipeline of scikit-learn passes on `predict`, `score_samples` and a few more; this
    reaches the rest, such as `pvalue` and `mahalanobis` of a `MahalanobisScorer`.

    Parameters
    ----------
    pipeline : Pipeline, estimator or search
        Fitted; one estimator is a pipeline of one step, and a search its best one.
    method : str
        Name of the method of the last step.
    X : array-like
        Rows as the first step takes them.
    *args, **kwargs : object
        Handed to the method after the transformed rows.

    Returns
    -------
    result : object
        What the method returns.

    Raises
    ------
    AttributeError
        If the last step has no such method.
    NotFittedError
        If the pipeline is not fitted.

    Examples
    --------
    >>> from sklearn.covariance import EmpiricalCovariance
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from manifoldgen import call_last
    >>> X, _ = load_iris(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), EmpiricalCovariance()).fit(X)
    >>> call_last(pipe, "mahalanobis", X[:2]).round(2)
    array([2.15, 2.87])
    """
    pipeline = getattr(pipeline, "best_estimator_", pipeline)
    steps = steps_of(pipeline)
    if not steps:
        raise AttributeError(f"The pipeline has no step, so no method {method!r}.")
    *earlier, (name, last) = steps
    function = getattr(last, method, None)
    if not callable(function):
        raise AttributeError(
            f"The last step, {label_of(name, last)}, has no method {method!r}."
        )
    check_is_fitted(pipeline)
    for _, step in earlier:
        X = step.transform(X)
    return function(X, *args, **kwargs)


def make_generative_pipeline(
    *steps: Any, memory: Any = None, verbose: bool = False
) -> "GenerativePipeline":
    """Chain estimators into a `GenerativePipeline`, named as `make_pipeline` does.

    Parameters
    ----------
    *steps : estimator
        Transformers, then a generator. The name of a step is its class in lower case.
    memory : str, object with the joblib.Memory interface or None, default=None
        Where fitted transformers are cached.
    verbose : bool, default=False
        Print the time that each step took to fit.

    Returns
    -------
    pipeline : GenerativePipeline

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.preprocessing import StandardScaler
    >>> from manifoldgen import make_generative_pipeline
    >>> pipe = make_generative_pipeline(StandardScaler(), GaussianMixture(3))
    >>> [name for name, _ in pipe.steps]
    ['standardscaler', 'gaussianmixture']
    """
    named = make_pipeline(*steps).steps
    return GenerativePipeline(named, memory=memory, verbose=verbose)


def _spread(X: Any) -> NDArray[np.float64] | None:
    """Return the divisor that gives each column a spread of 1; None if not numeric."""
    try:
        scaler = StandardScaler(with_mean=False).fit(flatten_images(X)[0])
    except (TypeError, ValueError):
        return None
    return scaler.scale_.astype(np.float64)


class _AvailableWhere:
    """`sklearn.utils.metaestimators.available_if` whose error says the reason itself.

    `check` gets the object, and raises an AttributeError where it lacks the method.
    """

    def __init__(self, check: Callable[[Any], object], method: Callable) -> None:
        self.check = check
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self.method
        self.check(instance)
        return MethodType(self.method, instance)


def _stock(name: str) -> Callable[[Any], object]:
    """Return a check that passes where scikit-learn's Pipeline offers `name`."""
    return lambda self: getattr(super(GenerativePipeline, self), name)


def _require_score(self: Any) -> None:
    if can_draw(self):
        require_sample(self)
    else:
        _stock("score")(self)


class GenerativePipeline(Pipeline):
    """scikit-learn's Pipeline with `sample`: forward to fit, backward to generate.

    `fit` sends X through the transformers to the last step, which learns the density
    of what arrives. `sample` draws from that density and inverts step by step back to
    rows like those of X. A pipeline whose last step does not draw is a stock Pipeline.

    `score` is one number for the whole way there and back: minus the energy distance
    between X and as many samples, in data space. A log-density in latent space, which
    `score_samples` still gives, cannot compare encoders: the one that shrinks its
    latents most would win.

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        Transformers with `inverse_transform`, then a generator with `sample`: one of
        this package's, or scikit-learn's GaussianMixture or KernelDensity.
        "passthrough" and None are skipped.
    transform_input : list of str, default=None
        As in scikit-learn's Pipeline.
    memory : str, object with the joblib.Memory interface or None, default=None
        Where fitted transformers are cached.
    verbose : bool, default=False
        Print the time that each step took to fit.

    Attributes
    ----------
    scale_ : ndarray of shape (n_features,), float64
        Standard deviation of each training column, 1 where it is constant: the unit
        of `score`. None where X was not all numbers, or the last step does not draw.

    See Also
    --------
    make_generative_pipeline : Make one without naming the steps.
    sample_from : The same for a stock Pipeline.
    manifoldgen.energy_distance : What `score` is made of, with its reference.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from manifoldgen import make_generative_pipeline
    >>> X, _ = load_digits(return_X_y=True)
    >>> generator = GaussianMixture(10, random_state=0)
    >>> pipe = make_generative_pipeline(MinMaxScaler(), PCA(16), generator)
    >>> pipe.fit(X).sample(5, random_state=0).shape
    (5, 64)
    """

    def fit(self, X: Any, y: Any = None, **params: Any) -> "GenerativePipeline":
        """Fit the steps one after the other, each on what the last one made of X.

        Parameters
        ----------
        X : array-like
            Training rows as the first step takes them: an array, a data frame, images.
        y : array-like, default=None
            Labels; each step uses or ignores them as its own parameters say.
        **params : dict
            Parameters of the steps' `fit`, named ``step__parameter``.

        Returns
        -------
        self : GenerativePipeline
        """
        if can_draw(self):
            try:
                require_sample(self)
            except AttributeError as error:
                warnings.warn(f"{error} Fitting goes on.", UserWarning, stacklevel=2)
        with self._fitting(X):
            super().fit(X, y, **params)
        return self

    @partial(_AvailableWhere, _stock("fit_transform"))
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all steps and return what the last one makes of the training rows.

        Parameters
        ----------
        X, y, **params : object
            As in `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
        """
        with self._fitting(X):
            return super().fit_transform(X, y, **params)

    @partial(_AvailableWhere, _stock("fit_predict"))
    def fit_predict(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all steps and return what the last one predicts for the training rows.

        Parameters
        ----------
        X, y, **params : object
            As in `fit`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        with self._fitting(X):
            return super().fit_predict(X, y, **params)

    @partial(_AvailableWhere, require_sample)
    def sample(
        self, n_samples: int | None = None, *, y: Any = None, random_state: Any = None
    ) -> Any:
        """Draw new rows of data.

        Parameters
        ----------
        n_samples : int, default=None
            How many rows; None is one for each label in `y`, else 1.
        y : label or array-like of shape (n_samples,), default=None
            What the rows are conditioned on, for a last step that was fitted with
            ``conditional=True``: one label for all of them or one for each.
        random_state : int, RandomState or None, default=None
            None draws afresh at each call; numpy's global generator is left alone.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Exactly `n_samples` rows: a data frame where `fit` saw one, images in the
            shape that the `inverse_transform` of the first step gives them.

        Raises
        ------
        AttributeError, NotFittedError, ValueError
            As `sample_from` does.
        """
        return sample_from(self, n_samples, y=y, random_state=random_state)

    @partial(_AvailableWhere, _require_score)
    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, **params: Any
    ) -> float:
        """Return minus the energy distance between X and as many samples.

        Columns are divided by `scale_`. The samples have a fixed seed, so the score of
        a fitted pipeline is one number. Where the last step does not draw, this is its
        own `score`, as in scikit-learn's Pipeline.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows that the pipeline was not fitted on.
        y : array-like, default=None
            Ignored, unless the last step does not draw.
        sample_weight : array-like, default=None
            For a last step that does not draw.
        **params : dict
            For a last step that does not draw.

        Returns
        -------
        score : float
            At most 0, which only equal samples reach; in standard deviations.

        Raises
        ------
        ValueError
            If the columns are not those of `fit`, or `fit` saw none that are numbers.
        TypeError
            If `sample_weight` or `params` are given where the last step draws.
        """
        check_is_fitted(self)
        if not can_draw(self):
            return super().score(X, y, sample_weight, **params)
        if sample_weight is not None or params:
            raise TypeError("score counts every row alike and takes only X and y.")
        scale = getattr(self, "scale_", None)
        if scale is None:
            raise ValueError(
                "score needs the spread of the training columns, which this pipeline "
                "does not have: X was not all numbers in fit, or the steps were "
                "fitted elsewhere. Call fit of this pipeline with numbers."
            )
        rows = self._validate_numbers(X, len(scale))
        samples = self.sample(len(rows), random_state=_SCORE_SEED)
        drawn = np.asarray(samples, dtype=np.float64).reshape(len(rows), -1)
        return -energy_distance(rows / scale, drawn / scale)

    def __getitem__(self, ind: Any) -> Any:
        part = super().__getitem__(ind)
        if isinstance(ind, slice) and ind.indices(len(self))[0] == 0:
            for name in _LEARNED_IN_FIT:
                if name in vars(self):
                    setattr(part, name, getattr(self, name))
        return part

    @contextmanager
    def _fitting(self, X: Any) -> Iterator[None]:
        """Learn the layout of X after the body; put all steps back where it raises.

        After an interrupt the last step may hold its best weights so far, which stay.
        """
        kept = list(self.named_steps.items())
        before = [(step, dict(vars(step))) for _, step in steps_of(self)]
        try:
            yield
        except KeyboardInterrupt:
            self._learn_layout(X)
            raise
        except Exception:
            self.steps = kept
            for step, attributes in before:
                step.__dict__.clear()
                step.__dict__.update(attributes)
            raise
        self._learn_layout(X)

    def _learn_layout(self, X: Any) -> None:
        """Store what goes through no step: container, columns, and their spread."""
        draws = hasattr(self, "sample")
        self._container = container_of(X) if draws else None
        self._columns = list(X.columns) if self._container else None
        self.scale_ = _spread(X) if draws else None

    def _validate_numbers(self, X: Any, n_features: int) -> NDArray[np.float64]:
        """Return `X` as float64 rows with the columns that `fit` saw."""
        rows, shape = flatten_images(X)
        if shape is None:
            rows = validate_data(self, rows, reset=False, dtype=np.float64)
        else:
            rows = check_array(rows, dtype=np.float64)
        if rows.shape[1] != n_features:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is "
                f"expecting {n_features} features as input."
            )
        return rows
