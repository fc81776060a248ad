"""Rows made for features, within a Mahalanobis distance, as an estimator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._conditional import every_class_kept
from .._random import draw_seed, random_state_of
from .._validation import check_int
from ..base import (
    SamplerMixin,
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..constraints import MahalanobisConstraint
from ..nn.likelihoods import importance_bound
from ._feature_decoder import FeatureDecoder

_SCORE_DRAWS = 16


class MahalanobisGenerator(SamplerMixin, DensityMixin, FeatureDecoder):
    r"""Generate rows that are within a Mahalanobis distance of the data in features.

    A decoder learns p(x | f, z), the rows x that have given features f, by a bound of
    the conditional likelihood [1]_, while what it makes is held to the features of
    data, D being the Mahalanobis distance of `MahalanobisConstraint`:

    .. math:: \max \; \mathrm{E}_{q(z|x,f)} \log p(x|f,z)
              - \beta\,\mathrm{KL}(q(z|x,f)\,\|\,p(z))
              \quad \text{subject to} \quad
              P(D(\phi(x')) > \epsilon) \le \mathrm{tolerance}

    with f = phi(x) for rows of data, and x' the mean of p(x | f', z') for f' from the
    law of features and z' from the prior, a standard normal. `sample` draws so, in one
    pass, and rejects nothing. Two things keep x' near f' besides: a term that says that
    x' has the features f' (`feature_weight`), and the law of f' itself, which is fitted
    on features within epsilon and whose distances are mapped, quantile by quantile, on
    those of rows of data.

    Rows that are drawn are means, without the noise of p(x | f, z), as those of
    `VAEManifold`. Where no features say what a likely row is, any generator will do.

    Parameters
    ----------
    n_components : int, default=8
        Width of z, what the features do not tell of a row.
    features : transformer or None, default=None
        phi, as `MahalanobisConstraint` takes it: a transformer that is fitted on the
        rows, or a `sklearn.frozen.FrozenEstimator` of a fitted one. None takes that
        of `constraint`, or else a PCA to half of the columns, 32 at most: with all of
        them f would be the row itself, and leave the decoder nothing to learn. For
        images, networks such as `ClassifierFeatures` know better what is like what.
    constraint : MahalanobisConstraint or None, default=None
        Epsilon, tolerance and the like. None is ``MahalanobisConstraint(
        two_sided=True)``: the 95 % quantile of the distances of rows, with distances
        inside like those of rows too. With ``multiplier=0.0`` nothing is held, and the
        law of features is that of all rows.
    feature_law : estimator or None, default=None
        Generates features: any estimator with `fit` and `sample`, ours or scikit-
        learn's `GaussianMixture`, of which a clone is fitted. None is a
        `LatentMixture`.
    feature_weight : float, default=0.1
        Weight of the likelihood of f' given the features of x', >= 0. More of it brings
        rows nearer to the features asked for, and pulls these to their mean.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        p(x | f, z): normal features of one variance, which is learned, or features that
        are 1 with the decoded probability, for data in [0, 1].
    conditional : bool, default=False
        Learn the law of features of each of the discrete labels given to `fit`, two
        rows a class at least: `sample` draws features of the class. The decoder sees
        features alone.
    beta : float, default=1.0
        Weight of the divergence, >= 0.
    free_bits : float, default=0.0
        Nats up to which the divergence of a coordinate costs the same, >= 0.
    kl_warmup_epochs : int, default=0
        Epochs over which the weight of the divergence grows from 0 to `beta`.
    average_decay : float, default=0.99
        Weight of the past in a running average of the weights, which takes their place
        after training, in [0, 1). 0 takes the weights themselves.
    architecture : {"mlp", "conv"}, default="mlp"
        Perceptrons of `hidden_sizes`, or before them convolutions of `channels` on
        `image_shape`.
    hidden_sizes : tuple of int, default=(256,)
        Widths of the hidden layers of the encoder; the decoder mirrors them.
    channels : tuple of int, default=(32, 64)
        Channels of the convolutions of the encoder, each halving the image.
    activation : {"relu", "leaky_relu", "silu", "gelu", "tanh"}, default="silu"
        Activation between the layers.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row. None takes it from an (n, height, width) or
        (n, channels, height, width) array; a 2-D row is a (1, 1, n_features) strip.
    dropout : float, default=0.0
        Probability with which hidden units are zeroed in training, in [0, 1).
    weight_decay : float, default=0.0
        Decay of all weights; how it enters depends on `optimizer`.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, default="adam"
        "sgd" has a Nesterov momentum of 0.9.
    learning_rate : float, default=2e-3
        Step size.
    schedule : str, default="constant"
        Course of the learning rate over `max_epochs`: "constant", "cosine", "linear",
        "one_cycle" or "plateau".
    batch_size : int, default=128
        Rows in a gradient step, beside as many that are made; fewer where there are
        fewer.
    max_epochs : int, default=200
        Passes through the data, at most.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). 0, or fewer than one row, keeps the last weights.
    patience : int or None, default=20
        Epochs without a better validation loss, among those that keep the constraint
        best, after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights, features, law and constraint where there
        are any.
    max_time : float, default=None
        Seconds after which training stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains in mixed precision.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    checkpoint : str or path-like, default=None
        Folder for a file from which the same fit, killed, resumes with the same
        result. With ``random_state=None`` the seed then follows from the data.
    callbacks : sequence of callable, default=None
        Each is called after an epoch with a dict of its figures; a true answer stops
        training.
    verbose : bool or int, default=False
        Show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of features, law, weights, split, batches and draws.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`. The encoder maps a row and
        its standardised features to means and log-variances of z, the decoder z and
        standardised features to a row.
    likelihood_, feature_likelihood_ : torch.nn.Module
        What else is learned: the variances.
    noise_variance_ : float
        Variance of a column about its decoded mean, in squared units of the data; of
        "gaussian" alone.
    feature_variance_ : float
        Variance of a whitened feature of a decoded row about the one asked for; 1 is
        that of the features of the data.
    constraint_ : MahalanobisConstraint
        Fitted, with `distances(X)` and `violation_rate(X)` of any rows.
    features_ : transformer
        Fitted, that of `constraint_`.
    epsilon_ : float
        The distance, dimensionless.
    multiplier_ : float
        Weight of the constraint that training ended with; 0 is none.
    feature_law_ : estimator
        Fitted on features of training rows within epsilon.
    feature_mean_, feature_scale_ : ndarray of shape (n_given,), float64
        Moments of the features, by which the networks see them standardised.
    history_ : History
        Mean `loss` and `validation_loss` of each epoch, minus the bound with `beta`, in
        nats a row in units of the networks, the latter with the `feature_loss`, in nats
        a row; `violation`, the share of made rows beyond epsilon, `multiplier` and
        `constraint`; `validation_divergence`, its KL; of 2,048 draws that are not
        trained on `validation_violation`, `validation_law_gap`, by how much the
        distribution function of their distances differs from that of rows, and
        `validation_infeasibility`, 0 where both are kept; `seconds`.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept, from 1.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows, in units of the data.
    shift_, scale_ : ndarray of shape (n_features,), float
        The networks see ``(x - shift_) / scale_``: with "gaussian" centred columns in
        one common scale.
    image_shape_ : tuple of int
        (channels, height, width).
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, features given both
        here and in `constraint`, ``conditional`` without labels or with a class of one
        row. By `sample`: labels asked of an unconditional model, labels that `fit` did
        not see, or features of another width.
    TypeError
        By `fit`: features that slopes cannot be taken of, or a law without `sample`.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    Warns
    -----
    ConstraintWarning
        By `fit`, where no epoch kept the constraint.

    References
    ----------
    .. [1] K. Sohn, X. Yan, H. Lee, "Learning structured output representation using
       deep conditional generative models", NeurIPS 2015, Eq. (4). Our condition is a
       function of the row, and the prior does not see it.
    .. [2] A. Cotter et al., "Optimization with non-differentiable constraints with
       applications to fairness, recall, churn, and other goals", JMLR 20, 2019,
       arXiv:1809.04198, section 4: how the share of rows beyond epsilon is held.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import MahalanobisGenerator
    >>> X, y = load_digits(return_X_y=True)
    >>> generator = MahalanobisGenerator(max_epochs=20, random_state=0).fit(X)
    >>> generator.sample(3, random_state=0).shape
    (3, 64)
    >>> generator.violation_rate(1000, random_state=0) < 0.1
    True
    >>> likely = generator.features_.transform(X[:2])
    >>> generator.sample(y=likely, random_state=0).shape
    (2, 64)
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        features: Any = None,
        constraint: MahalanobisConstraint | None = None,
        feature_law: Any = None,
        feature_weight: float = 0.1,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        conditional: bool = False,
        beta: float = 1.0,
        free_bits: float = 0.0,
        kl_warmup_epochs: int = 0,
        average_decay: float = 0.99,
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden_sizes: Sequence[int] = (256,),
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        image_shape: tuple[int, int, int] | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        batch_size: int = 128,
        max_epochs: int = 200,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        tol: float = 1e-4,
        warm_start: bool = False,
        max_time: float | None = None,
        precision: Literal["float32", "bf16"] = "float32",
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.features = features
        self.constraint = constraint
        self.feature_law = feature_law
        self.feature_weight = feature_weight
        self.likelihood = likelihood
        self.conditional = conditional
        self.beta = beta
        self.free_bits = free_bits
        self.kl_warmup_epochs = kl_warmup_epochs
        self.average_decay = average_decay
        self.architecture = architecture
        self.hidden_sizes = hidden_sizes
        self.channels = channels
        self.activation = activation
        self.image_shape = image_shape
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.warm_start = warm_start
        self.max_time = max_time
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn features, their law, and to make rows for them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width).
        y : array-like of shape (n_samples,), default=None
            Discrete labels where `conditional`, or where features or constraint need
            them; else ignored.

        Returns
        -------
        self : MahalanobisGenerator
        """
        with unchanged_on_error(self):
            fitted = self._fitted_before()
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters(rows)
            codes = self._learn_labels(y, len(rows))
            self._check_same_classes(fitted)
            labels = np.asarray(y) if y is not None and self._needs_labels else None
            self.device_ = str(resolve_device(self.device))
            seen = self._parts_seen(rows, labels)
            rng, checkpoint = self._open_run(fitted, X=rows, **seen)
            kept, out = every_class_kept(*self._split(len(rows), rng), codes)
            if fitted is None:
                self._set_units(rows)
                classes = None if codes is None else codes[kept]
                y_kept = None if labels is None else labels[kept]
                given = self._learn_features(rows[kept], y_kept, rng)
                self._learn_law(given, classes, rng)
            done = 0 if fitted is None else self.n_epochs_
            networks = self._start(fitted, draw_seed(rng))
            train, validation = (self._on_device(rows[at]) for at in (kept, out))
            program = self._program(networks, len(kept), done, rng)
            held = validation if len(out) else None
            outcome = self._run(program, train, held, rng, checkpoint, self.max_epochs)
            self._finish(program)
            watched = "loss" if held is None else "validation_loss"
            warn_unconverged(outcome, watched)
            self._warn_unreached(outcome.history)
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def sample(
        self, n_samples: int | None = None, *, y: Any = None, random_state: Any = None
    ) -> Any:
        """Draw new rows, of given labels or of given features.

        Parameters
        ----------
        n_samples : int, default=None
            How many rows; None is one for each label or row in `y`, else 1.
        y : label, or array-like of shape (n_samples,) or (n_samples, n_given), \
default=None
            With one dimension labels, where conditional: one for all rows or one for
            each. With two dimensions features, as `features_` returns them: one row for
            all or one for each; they are taken as they are. None draws features.
        random_state : int, RandomState or None, default=None
            None draws afresh at each call.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            Exactly `n_samples` rows; a data frame or images where `fit` saw such.
        """
        check_is_fitted(self)
        if np.ndim(y) < 2:
            return super().sample(n_samples, y=y, random_state=random_state)
        asked = check_array(y, dtype=np.float64, input_name="y")
        width = len(self.feature_mean_)
        if asked.shape[1] != width:
            raise ValueError(
                f"y must hold {width} features a row, as features_ returns them, got "
                f"{asked.shape[1]}."
            )
        n_samples = check_int(
            "n_samples", len(asked) if n_samples is None else n_samples
        )
        if len(asked) not in (1, n_samples):
            raise ValueError(
                f"y must hold features of one row or of n_samples={n_samples} rows, "
                f"got {len(asked)}."
            )
        asked = np.broadcast_to(asked, (n_samples, width))
        rng = np.random.RandomState(draw_seed(random_state_of(random_state)))
        return self._in_layout(self._rows_for(asked, rng))

    def conditional_log_likelihood(
        self, X: Any, *, n_samples: int = 64, random_state: int = 0
    ) -> NDArray[np.float64]:
        """Return the importance-weighted bound of log p(x | f) of each row.

        ``log mean_k p(x | f, z_k) p(z_k) / q(z_k | x, f)`` with f the features of the
        row itself grows with `n_samples`, towards the log-density of the decoder's rows
        for these features [1]_. With "bernoulli" it bounds the log-probability of rows
        of 0 and 1; between them no density is meant.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        n_samples : int, default=64
            Draws of z for a row; the first ones are those of fewer.
        random_state : int, default=0
            Seed of the draws. Those of a row depend on it and on the row alone.

        Returns
        -------
        bound : ndarray of shape (n_samples,), float64
            Nats a row, in units of the data.

        References
        ----------
        .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted
           autoencoders", ICLR 2016, arXiv:1509.00519, Eq. (8).
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        self._check_range(rows)
        n_samples = check_int("n_samples", n_samples)
        seed = check_int("random_state", random_state, 0)
        bounds = [
            float(importance_bound(torch.from_numpy(row)))
            for weights in self._log_weights(rows, n_samples, seed)
            for row in weights
        ]
        volume = 0.0
        if self.likelihood == "gaussian":
            volume = float(np.log(self.scale_).sum())
        return np.array(bounds) - volume

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `conditional_log_likelihood`, of 16 draws, over rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        y : None
            Ignored.

        Returns
        -------
        score : float
            In nats a row, given its features.
        """
        bounds = self.conditional_log_likelihood(X, n_samples=_SCORE_DRAWS)
        return float(bounds.mean())

    def violation_rate(
        self,
        n_samples: int | None = None,
        *,
        y: Any = None,
        random_state: Any = None,
    ) -> float:
        """Return the share of fresh samples that are beyond epsilon.

        Parameters
        ----------
        n_samples : int, default=None
            How many rows are drawn; None is one for each label in `y`, else 1,000.
        y : label or array-like of shape (n_samples,), default=None
            As for `sample`.
        random_state : int, RandomState or None, default=None
            None draws afresh at each call.

        Returns
        -------
        rate : float
            In [0, 1].
        """
        check_is_fitted(self)
        if n_samples is None:
            n_samples = len(y) if np.ndim(y) else 1000
        n_samples = check_int("n_samples", n_samples)
        if np.ndim(y) and np.shape(y) != (n_samples,):
            raise ValueError(
                f"y must be one label or n_samples={n_samples} labels, got an array of "
                f"shape {np.shape(y)}."
            )
        labels = None if y is None else np.broadcast_to(np.asarray(y), (n_samples,))
        rng = random_state_of(random_state)
        codes = self._codes_for(n_samples, labels, rng)
        made = self._given(self._draw(n_samples, codes, rng))
        return float((self._distances(made, codes) > self.epsilon_).mean())

    @property
    def features_(self) -> Any:
        """The fitted features, those of `constraint_`."""
        return self.constraint_.features_

    @property
    def epsilon_(self) -> float:
        """The distance that rows are held to."""
        return self.constraint_.epsilon_

    @property
    def multiplier_(self) -> float:
        """Weight of the constraint that training ended with."""
        return self.constraint_.multiplier_

    def _check_same_classes(self, fitted: Mapping[str, Any] | None) -> None:
        """Raise where a warm start goes on from a law of other classes."""
        if fitted is None or not self.conditional:
            return
        before = fitted.get("classes_")
        if before is None or not np.array_equal(before, self.classes_):
            known = "none" if before is None else before.tolist()
            raise ValueError(
                f"y must hold the classes of the fit that is gone on from, {known}, "
                f"got {self.classes_.tolist()}. Fit with warm_start=False."
            )

    # ---------------------------------------------------------------- drawing
    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        return self._draw(n_samples, self._codes_for(n_samples, y, rng), rng)

    def _draw(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float32]:
        """Return rows for features from their law, of classes at `codes` if any."""
        # streams of their own, or the noise of a row would depend on n_samples
        law, noise = (np.random.RandomState(draw_seed(rng)) for _ in range(2))
        return self._rows_for(self._draw_features(n_samples, codes, law), noise)
