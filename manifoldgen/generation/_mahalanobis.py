"""Rows made for features, within a Mahalanobis distance, as an estimator."""

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._arrays import (
    column_moments,
    image_shape_of,
    refuse_channels_last,
    standardize,
    warn_of_coarse_columns,
)
from .._conditional import ConditionalMixin, every_class_kept
from .._random import draw_seed, random_state_of, row_streams, torch_generator
from .._validation import check_choice, check_int, check_real, check_sizes
from ..base import (
    BaseTorchEstimator,
    SamplerMixin,
    continue_from,
    pass_on_interrupt,
    resolve_device,
    seeded_clone,
    unchanged_on_error,
    warn_unconverged,
)
from ..constraints import (
    ConstrainedMixin,
    MahalanobisConstraint,
    check_constraint,
    feature_module,
    fit_constraint,
)
from ..covariance import squared_distances
from ..exceptions import ConstraintWarning
from ..manifold._parts import check_unit_range
from ..nn import ACTIVATIONS, MLP, ConvDecoder, map_rows
from ..nn.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    importance_bound,
    log_normal,
    split_code,
)
from ..training import OPTIMIZERS, History, make_optimizer
from ._drawing import draw_rows
from ._mahalanobis_program import (
    LAW_GAP,
    N_PROBES,
    FeatureEncoder,
    MahalanobisProgram,
)
from ._mixture import LatentMixture

_LEAST_ROWS = 4  # of a constraint
_FEATURES = 32  # of those that are made where none are given, at most
_LAW_DRAWS = 8192  # that training takes features from, at least
_MOST_LAW_DRAWS = 65_536
_RADII = 512
_SCORE_DRAWS = 16
_DECODED = 8192  # rows that are decoded at a time
_RANGE_CHOICE = ("likelihood='bernoulli'", "likelihood='gaussian'")


class MahalanobisGenerator(
    ConstrainedMixin, ConditionalMixin, SamplerMixin, DensityMixin, BaseTorchEstimator
):
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

    _networks = ("encoder_", "decoder_", "likelihood_", "feature_likelihood_")
    encoder_: nn.Module
    decoder_: nn.Module
    likelihood_: nn.Module
    feature_likelihood_: nn.Module
    feature_law_: Any
    mean_: NDArray[np.float64]
    _radii: tuple[NDArray[np.float64], NDArray[np.float64]] | None

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
        n_samples = check_int("n_samples", n_samples or len(asked))
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
        self, n_samples: int = 1000, *, y: Any = None, random_state: Any = None
    ) -> float:
        """Return the share of fresh samples that are beyond epsilon.

        Parameters
        ----------
        n_samples : int, default=1000
            How many rows are drawn.
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
        n_samples = check_int("n_samples", n_samples)
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

    def _rows_for(
        self, given: NDArray[np.float64], rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        """Return rows, in units of the data, made for features."""
        Z = rng.standard_normal((len(given), self._n_latent))
        inputs = np.hstack([Z, self._standard_features(given)]).astype(np.float32)
        return map_rows(self._decode, inputs, self.device_).astype(np.float32)

    def _decode(self, inputs: Tensor) -> Tensor:
        return self._to_data(self.decoder_(inputs))

    def _to_data(self, output: Tensor) -> Tensor:
        """Return what the decoder returns as rows in units of the data, with slopes."""
        wide = torch.float32 if output.device.type == "mps" else torch.float64
        shift, scale, mean = (
            torch.tensor(it, dtype=wide, device=output.device)
            for it in (self.shift_, self.scale_, self.mean_)
        )
        rows = output.sigmoid() if self.likelihood == "bernoulli" else output
        rows = rows.to(wide) * scale + shift
        if self._is_uint8:
            rows = rows.clamp(0.0, 255.0)
        constant = torch.from_numpy(self._is_constant).to(output.device)
        return torch.where(constant, mean, rows)

    def _draw_features(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float64]:
        """Return features from their law, at distances like those of training rows."""
        y = None if codes is None else self.classes_[codes]
        drawn = draw_rows(self.feature_law_, n_samples, y, rng, "law of features")
        given = np.asarray(drawn, dtype=np.float64)
        if self._radii is None:
            return given
        centers = self._centers(given, codes)
        radii = self._distances(given, codes)
        wanted = np.interp(radii, *self._radii)
        apart = radii > 0
        share = np.divide(wanted, radii, out=np.ones_like(radii), where=apart)
        return centers + (given - centers) * share[:, np.newaxis]

    # --------------------------------------------------------------- features

    def _given(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the features of rows, one row's the same bits in any batch."""
        module = feature_module(self.features_)
        on_mps = torch.device(self.device_).type == "mps"
        dtype = np.float32 if on_mps else np.float64
        module = (module.float() if on_mps else module).to(self.device_)
        found = map_rows(module, rows, self.device_, lambda part: part.astype(dtype))
        return found.astype(np.float64)

    def _standard_features(self, given: NDArray[np.float64]) -> NDArray[np.float32]:
        return standardize(given, self.feature_mean_, self.feature_scale_)

    def _squared_distances(self, given: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return squared distances of features to each location, (n, n_locations)."""
        held = self.constraint_
        return np.column_stack(
            [squared_distances(given, it, held.whitening_) for it in held.location_]
        )

    def _distances(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return distances of features to their classes, or to the nearest location."""
        squared = self._squared_distances(given)
        at = self._locations_of(codes)
        if at is None:
            return np.sqrt(squared.min(axis=1))
        return np.sqrt(squared[np.arange(len(given)), at])

    def _centers(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return the locations that distances are measured to."""
        at = self._locations_of(codes)
        if at is None:
            at = self._squared_distances(given).argmin(axis=1)
        return self.constraint_.location_[at]

    def _locations_of(
        self, codes: NDArray[np.int64] | None
    ) -> NDArray[np.int64] | None:
        """Return which location each class is measured to, None for the nearest."""
        return codes if self.constraint_.class_conditional else None

    def _learn_features(
        self,
        rows: NDArray[Any],
        labels: NDArray[Any] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float64]:
        """Fit features and constraint, and return the features of the rows."""
        measured, y = rows, labels
        if self._is_constant.all():  # a distance needs a spread, of whatever size
            noise = rng.standard_normal(rows.shape)
            measured = rows + noise * np.maximum(np.abs(self.mean_), 1.0)
        if len(rows) < _LEAST_ROWS:  # the same moments
            measured = np.tile(measured, (_LEAST_ROWS, 1))
            y = None if labels is None else np.tile(labels, _LEAST_ROWS)
        constraint = self.constraint
        if constraint is None:
            constraint = MahalanobisConstraint(two_sided=True)
        shown = self.image_shape is not None or self._shape_in is not None
        self.constraint_ = fit_constraint(
            clone(constraint).set_params(
                features=self._features_for(constraint, measured)
            ),
            measured,
            y,
            rng,
            shape=self.image_shape_ if shown else None,
            labelled=bool(self.conditional),
        )
        given = self._given(rows)
        self.feature_mean_, self.feature_scale_ = column_moments(given)
        return given

    def _features_for(
        self, constraint: MahalanobisConstraint, rows: NDArray[Any]
    ) -> Any:
        """Return unfitted features, or frozen ones."""
        if self.features is not None:
            return self.features
        if constraint.features is not None:
            return constraint.features
        n_fitted = int((1.0 - constraint.calibration_fraction) * len(rows))
        return PCA(max(1, min(_FEATURES, rows.shape[1] // 2, n_fitted // 2)))

    def _learn_law(
        self,
        given: NDArray[np.float64],
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> None:
        """Fit the law of features on those within epsilon."""
        self._radii = None
        inside = np.ones(len(given), dtype=bool)
        distances = self._distances(given, codes)
        if self._is_held:
            inside = distances <= self.epsilon_
            groups = np.zeros(len(given), np.int64) if codes is None else codes
            for code in np.unique(groups):  # two of each, the nearest, at least
                mine = np.flatnonzero(groups == code)
                inside[mine[np.argsort(distances[mine], kind="stable")[:2]]] = True
        law = self.feature_law
        if law is None:
            law = LatentMixture(conditional=bool(self.conditional))
        law = seeded_clone(law, rng)
        if codes is None:
            self.feature_law_ = law.fit(given[inside])
        else:
            self.feature_law_ = law.fit(given[inside], self.classes_[codes[inside]])
        if self._is_held:
            shares = (np.arange(_RADII) + 0.5) / _RADII
            codes_drawn = self._codes_for(_LAW_DRAWS, None, rng)
            drawn = self._draw_features(_LAW_DRAWS, codes_drawn, rng)
            radii = np.quantile(self._distances(drawn, codes_drawn), shares)
            wanted = np.minimum(distances[inside], self.epsilon_)
            self._radii = radii, np.quantile(wanted, shares)

    @property
    def _is_held(self) -> bool:
        return self.constraint_.multiplier != 0.0

    # ---------------------------------------------------------------- training

    @property
    def _needs_labels(self) -> bool:
        features = self.features
        if self.constraint is not None:
            if self.constraint.class_conditional:
                return True
            features = features or self.constraint.features
        required = features is not None and get_tags(features).target_tags.required
        return bool(self.conditional or required)

    def _parts_seen(
        self, rows: NDArray[Any], labels: NDArray[Any] | None
    ) -> dict[str, Any]:
        """Return what a fit depends on, besides rows and parameters as they show."""
        features = self.features
        if features is None and self.constraint is not None:
            features = self.constraint.features
        seen = None
        if isinstance(features, FrozenEstimator):
            seen = np.asarray(features.transform(rows[:64]))
        return {"labels": labels, "features": seen}

    def _check_parameters(self, rows: NDArray[Any]) -> None:
        check_int("n_components", self.n_components)
        self._check_parts()
        check_choice("likelihood", self.likelihood, ("gaussian", "bernoulli"))
        for name in ("feature_weight", "beta", "free_bits", "weight_decay"):
            check_real(name, getattr(self, name), 0.0)
        check_int("kl_warmup_epochs", self.kl_warmup_epochs, 0)
        for name in ("average_decay", "dropout"):
            check_real(name, getattr(self, name), 0.0, 1.0, closed="left")
        check_choice("architecture", self.architecture, ("mlp", "conv"))
        check_sizes("hidden_sizes", self.hidden_sizes)
        check_sizes("channels", self.channels)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("precision", self.precision, ("float32", "bf16"))
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_int("max_epochs", self.max_epochs)
        self._check_training()
        self._shape_of_rows()
        self._check_range(rows)

    def _check_parts(self) -> None:
        """Check the estimators that are parameters."""
        check_constraint(self.constraint)
        held = self.constraint
        if held is not None and None not in (held.features, self.features):
            raise ValueError(
                "features must be given once, here or in constraint, got "
                f"{self.features!r} and {held.features!r}. Set features=None in one of "
                "them: rows are made for the features that they are measured by."
            )
        for method in ("fit", "sample"):
            law = self.feature_law
            if law is not None and not hasattr(law, method):
                raise TypeError(
                    "feature_law must be None or an estimator with fit and sample, got "
                    f"{law!r}, which has no {method}."
                )
        if self.feature_law is not None and self.conditional:
            if "y" not in inspect.signature(self.feature_law.sample).parameters:
                raise ValueError(
                    "feature_law must draw by label where conditional=True, got "
                    f"{self.feature_law!r}. Pass LatentMixture(conditional=True) or "
                    "the like."
                )

    def _check_range(self, rows: NDArray[Any]) -> None:
        if self.likelihood == "bernoulli":
            top = 255.0 if getattr(self, "_is_uint8", False) else 1.0
            check_unit_range("X", rows, top, *_RANGE_CHOICE)

    def _shape_of_rows(self) -> tuple[int, int, int]:
        if self.architecture == "conv":
            refuse_channels_last(self.image_shape, self._shape_in)
        return image_shape_of(self.image_shape, self._shape_in, self.n_features_in_)

    def _set_units(self, rows: NDArray[Any]) -> None:
        self.image_shape_ = self._shape_of_rows()
        self.mean_, std = column_moments(rows)
        warn_of_coarse_columns(type(self).__name__, self.mean_, std)
        self._is_uint8 = rows.dtype == np.uint8
        self._is_constant = rows.min(axis=0) == rows.max(axis=0)
        self._n_latent = int(self.n_components)
        if self.likelihood == "bernoulli":
            self.shift_ = np.zeros_like(self.mean_)
            scale = 255.0 if self._is_uint8 else 1.0
        else:
            self.shift_ = self.mean_
            scale = float(np.sqrt(np.square(std).mean())) or 1.0
        self.scale_ = np.full_like(self.mean_, scale)

    def _start(self, fitted: dict[str, Any] | None, seed: int) -> dict[str, nn.Module]:
        if fitted is not None and len(self.mean_) != self.n_features_in_:
            raise ValueError(
                "Training on from fitted weights needs networks of the same shapes, "
                f"for rows of {len(self.mean_)} features, got {self.n_features_in_}. "
                "Fit with warm_start=False."
            )
        networks = self._build_networks(seed)
        if fitted is not None:
            continue_from(networks, fitted)
        return {name: module.to(self.device_) for name, module in networks.items()}

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        source, n_given = torch_generator(seed), len(self.feature_mean_)
        conv, n_in = self.architecture == "conv", self.n_components + n_given
        rest = self.activation, self.dropout, source
        encoder = FeatureEncoder(
            self.image_shape_,
            n_given,
            2 * self.n_components,
            tuple(self.channels) if conv else None,
            tuple(self.hidden_sizes),
            *rest,
        )
        decoder: nn.Module
        if conv:
            shape = self.image_shape_
            decoder = ConvDecoder(shape, n_in, self.channels, self.hidden_sizes, *rest)
        else:
            sizes = (n_in, *reversed(self.hidden_sizes), self.n_features_in_)
            decoder = MLP(sizes, *rest)
        gaussian = self.likelihood == "gaussian"
        return {
            "encoder_": encoder,
            "decoder_": decoder,
            "likelihood_": GaussianLikelihood() if gaussian else BernoulliLikelihood(),
            "feature_likelihood_": GaussianLikelihood(),
        }

    def _on_device(self, rows: NDArray[Any]) -> list[Tensor]:
        """Return rows, bytes as they are, and their features as networks see them."""
        if not len(rows):
            return []
        given = torch.from_numpy(self._standard_features(self._given(rows)))
        if rows.dtype == np.uint8:
            x = torch.tensor(rows)  # a copy, since rows may be read-only
        else:
            x = torch.from_numpy(standardize(rows, self.shift_, self.scale_))
        return [x.to(self.device_), given.to(self.device_)]

    def _to_units(self) -> Callable[[Tensor], Tensor] | None:
        """Return what maps rows on the device to units of the networks."""
        if not self._is_uint8:
            return None
        shift, scale = (
            torch.tensor(it, dtype=torch.float32, device=self.device_)
            for it in (self.shift_, self.scale_)
        )

        def to_units(x: Tensor) -> Tensor:
            return x if x.is_floating_point() else (x.float() - shift) / scale

        return to_units

    def _program(
        self,
        networks: dict[str, nn.Module],
        n_rows: int,
        done: int,
        rng: np.random.RandomState,
    ) -> MahalanobisProgram:
        held = self.constraint_.hold(self.device_)
        to_features = held.features
        held.features = nn.Identity()  # the program has the features of what it makes
        n_draws = N_PROBES + min(max(n_rows, _LAW_DRAWS), _MOST_LAW_DRAWS)
        codes = self._codes_for(n_draws, None, rng)
        asked = self._draw_features(n_draws, codes, rng)
        at = self._locations_of(codes)
        given = np.float32 if self.device_.startswith("mps") else np.float64
        law, asked_for = (
            torch.from_numpy(it).to(self.device_)
            for it in (self._standard_features(asked), asked.astype(given))
        )
        parameters = [p for m in networks.values() for p in m.parameters()]
        batches = -(-n_rows // self.batch_size)
        return MahalanobisProgram(
            networks,
            make_optimizer(
                self.optimizer, parameters, self.learning_rate, self.weight_decay
            ),
            held,
            features=lambda output: to_features(self._to_data(output)),
            law=law,
            asked=asked_for,
            codes=None if at is None else torch.from_numpy(at).to(self.device_),
            n_components=self._n_latent,
            beta=self.beta,
            free_bits=self.free_bits,
            feature_weight=self.feature_weight,
            average_decay=self.average_decay,
            warmup_steps=self.kl_warmup_epochs * batches,
            n_steps=done * batches,
            prepare=self._to_units(),
            half=self.precision == "bf16",
        )

    def _finish(self, program: MahalanobisProgram) -> None:
        for name, network in program.final.items():
            setattr(self, name, network)
        self._keep_multiplier(program.held)
        self.__dict__.pop("noise_variance_", None)
        if isinstance(self.likelihood_, GaussianLikelihood):
            scale = float(self.scale_[0])
            self.noise_variance_ = float(self.likelihood_.variance) * scale**2
        assert isinstance(self.feature_likelihood_, GaussianLikelihood)
        self.feature_variance_ = float(self.feature_likelihood_.variance)

    def _warn_unreached(self, history: History) -> None:
        """Warn where no epoch kept the constraint, or none the law of distances."""
        if "validation_infeasibility" not in history:
            return
        best = int(np.argmin(history["validation_infeasibility"]))
        shares = history["validation_violation"][best], self.constraint_.tolerance_
        gap = 0.0
        if "validation_law_gap" in history:
            gap = history["validation_law_gap"][best]
        if gap <= LAW_GAP or shares[0] > shares[1]:
            shown = copy.copy(self)
            shown.constraint = self.constraint_  # None stands for one too
            shown._warn_infeasible(history, N_PROBES)
            return
        warnings.warn(
            "The distances of made rows were never distributed like those of rows of "
            "data: at best their distribution functions are "
            f"{gap:.2g} apart, where {LAW_GAP:g} is near. Raise max_epochs, or the "
            "step of the constraint, or set its two_sided=False.",
            ConstraintWarning,
            stacklevel=3,
        )

    # -------------------------------------------------------------- likelihood

    def _log_weights(
        self, rows: NDArray[Any], n_samples: int, seed: int
    ) -> Iterator[NDArray[np.float64]]:
        """Yield log p(x, z | f) - log q(z | x, f) of some rows, (some, n_samples)."""
        some, shape = max(1, _DECODED // n_samples), (n_samples, self._n_latent)
        for start in range(0, len(rows), some):
            part = rows[start : start + some]
            noise = [it.standard_normal(shape) for it in row_streams(part, seed)]
            x = standardize(part, self.shift_, self.scale_)
            both = np.hstack([x, self._standard_features(self._given(part))])
            code = map_rows(self.encoder_, both, self.device_)
            repeated = np.repeat(np.hstack([code, both]), n_samples, axis=0)
            inputs = np.hstack([np.concatenate(noise), repeated]).astype(np.float32)
            found = map_rows(self._log_weight, inputs, self.device_)
            yield found.astype(np.float64).reshape(-1, n_samples)

    def _log_weight(self, block: Tensor) -> Tensor:
        """Return the log-weight of rows of noise, code, row and features, (n, 1)."""
        k, d = self._n_latent, self.n_features_in_
        noise, code, x, given = block.split([k, 2 * k, d, len(self.feature_mean_)], 1)
        mean, log_variance = split_code(code)
        z = mean + (0.5 * log_variance).exp() * noise
        likelihood = self.likelihood_(x, self.decoder_(torch.cat([z, given], dim=1)))
        zero = torch.zeros_like(z)
        prior = log_normal(z, zero, zero) - log_normal(z, mean, log_variance)
        return (likelihood + prior).unsqueeze(1)
