"""The variational autoencoder as an estimator."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._arrays import standardize
from .._conditional import ConditionalMixin, check_labels_of_rows
from .._random import isolated_streams, row_streams
from .._validation import check_bool, check_choice, check_int, check_real
from ..base import SamplerMixin
from ..exceptions import CollapseWarning
from ..nn import map_rows
from ..nn.affine import Columns
from ..nn.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    NormalPrior,
    importance_bound,
    kl_of_normals,
    log_normal,
    split_code,
)
from ._autoencoding import AutoencodingManifold
from ._parts import check_unit_range
from ._variational_program import VariationalProgram

_LOSSES = {"gaussian": "mse", "bernoulli": "bce"}  # that see rows in the same units
_PROBE_ROWS = 1024
_NO_NEWS = 0.01  # nats of a coordinate that tells nothing of the row
_DECODED = 8192  # rows that are decoded at a time


class VAEManifold(ConditionalMixin, SamplerMixin, AutoencodingManifold):
    r"""Learn a manifold with a density: a variational autoencoder.

    An encoder returns mean and variance of the latents q(z | x) of a row, a decoder the
    mean of p(x | z), and both raise the evidence lower bound of log p(x) [1]_:

    .. math:: \log p(x) \ge \mathrm{E}_{q(z|x)} \log p(x|z)
              - \beta\,\mathrm{KL}(q(z|x)\,\|\,p(z)), \quad \beta = 1

    Latents then fill the prior, a standard normal, so that decoded draws of it are new
    rows: `sample`. `elbo` and `log_likelihood` say how likely rows are. Rows that are
    drawn are means, without the noise of p(x | z), and softer than the data, images
    above all: `LatentFlowMatching` on the latents of any manifold comes nearer to them.
    To reconstruct alone, `AutoencoderManifold` is better.

    Parameters
    ----------
    n_components : int, default=2
        Width of the latent space, at most the number of features.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        p(x | z): normal features of one variance, which is learned [2]_, or features
        that are 1 with the decoded probability, for data in [0, 1]; a decoder of your
        own then returns logits.
    beta : float, default=1.0
        Weight of the divergence, >= 0 [3]_: below 1 reconstructions are sharper and
        samples worse, above 1 the other way round.
    free_bits : float, default=0.0
        Nats up to which the divergence of a coordinate costs the same, >= 0 [4]_;
        against latents that are given up early.
    kl_warmup_epochs : int, default=0
        Epochs over which the weight of the divergence grows from 0 to `beta`, step by
        step; for the same end. `history_` shows losses with the whole `beta`.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two rows a class at least:
        each class has a prior of its own, a normal whose means and variances are
        learned with the networks. These see no labels, nor do `transform` and
        `inverse_transform`.
    average_decay : float, default=0.0
        Weight of the past in a running average of the weights, which takes their place
        after training, in [0, 1). 0 takes the weights themselves.
    architecture : {"mlp", "conv"}, default="mlp"
        Built-in networks: perceptrons of `hidden_sizes`, or before them convolutions of
        `channels` on `image_shape`.
    hidden_sizes : tuple of int, default=(128, 64)
        Widths of the hidden layers of the encoder; the decoder mirrors them.
    channels : tuple of int, default=(32, 64)
        Channels of the convolutions of the encoder, each halving the image.
    activation : {"relu", "leaky_relu", "silu", "gelu", "tanh"}, default="silu"
        Activation between the layers.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row. None takes it from an (n, height, width) or
        (n, channels, height, width) array; a 2-D row is a (1, 1, n_features) strip.
    encoder, decoder : class, default=None
        Networks of your own, called as ``encoder(n_features, 2 * n_components)``, of
        means and then logarithms of variances, and
        ``decoder(n_components, n_features)``, with ``image_shape=`` where they take
        it. They map rows to rows. None builds what `architecture` says.
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images of each batch, by name and strength, that both
        networks see, such as ``{"rotate": 12.0, "shift": 0.08}``; see
        `manifoldgen.nn.augment`. Values stay in the range of X, 0 to 255 for uint8.
        `validation_loss` is of unchanged rows.
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
        "one_cycle", or "plateau", which halves it where the loss no longer falls.
    batch_size : int, default=128
        Rows in a gradient step; fewer where there are fewer.
    max_epochs : int, default=500
        Passes through the data, at most.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). 0, or fewer than one row, keeps the last weights.
    patience : int or None, default=20
        Epochs without a better validation loss after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains in mixed precision; what `transform` returns is float32 in both.
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
        Seed of weights, split, batches, draws of latents and dropout.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`. The encoder returns means and
        log-variances.
    prior_, likelihood_ : torch.nn.Module
        What else is learned: priors of the classes, and the variance of "gaussian".
    noise_variance_ : float
        Variance of a feature about its decoded mean, in squared units of the data; of
        "gaussian" alone.
    history_ : History
        Mean `loss` and `validation_loss` of each epoch, minus the bound with `beta`, in
        nats a row in units of the networks; `validation_divergence`, its KL; and
        `seconds` since the start.
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
        one common scale, so that the fit is the same for X and for 1000 X.
    n_components_ : int
        Width of the latent space.
    image_shape_ : tuple of int or None
        (channels, height, width), for "conv" and for networks that take it.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows,
        ``n_components > n_features``, an `image_shape` that does not match, `augment`
        of rows that are no images, ``conditional`` without labels or with a class of
        one row. By `sample`: labels asked of an unconditional model, or labels that
        `fit` did not see.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] D. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014,
       arXiv:1312.6114, Eq. (3) and (10).
    .. [2] O. Rybkin, K. Daniilidis, S. Levine, "Simple and effective VAE training with
       calibrated decoders", ICML 2021, arXiv:2006.13202, section 4.1.
    .. [3] I. Higgins et al., "beta-VAE: Learning basic visual concepts with a
       constrained variational framework", ICLR 2017, Eq. (4).
    .. [4] D. Kingma et al., "Improved variational inference with inverse
       autoregressive flow", NeurIPS 2016, arXiv:1606.04934, Eq. (15), with groups of
       one coordinate.
    .. [5] K. Sohn, X. Yan, H. Lee, "Learning structured output representation using
       deep conditional generative models", NeurIPS 2015, Eq. (4). Our encoder and
       decoder do not see the condition, the prior does.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import VAEManifold
    >>> X, y = load_digits(return_X_y=True)
    >>> manifold = VAEManifold(8, max_epochs=30, random_state=0).fit(X)
    >>> manifold.sample(3, random_state=0).shape
    (3, 64)
    >>> bound = manifold.elbo(X[:100]).mean()
    >>> bool(bound < manifold.log_likelihood(X[:100]).mean())
    True
    """

    _networks = ("encoder_", "decoder_", "prior_", "likelihood_")
    _range_choice = ("likelihood='bernoulli'", "likelihood='gaussian'")
    noise = 0.0  # of what the encoder sees: the latents have their own
    prior_: NormalPrior
    likelihood_: nn.Module
    noise_variance_: float
    _class_counts: NDArray[np.int64]

    def __init__(
        self,
        n_components: int = 2,
        *,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        beta: float = 1.0,
        free_bits: float = 0.0,
        kl_warmup_epochs: int = 0,
        conditional: bool = False,
        average_decay: float = 0.0,
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden_sizes: Sequence[int] = (128, 64),
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        image_shape: tuple[int, int, int] | None = None,
        encoder: Callable[..., nn.Module] | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        batch_size: int = 128,
        max_epochs: int = 500,
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
        self.likelihood = likelihood
        self.beta = beta
        self.free_bits = free_bits
        self.kl_warmup_epochs = kl_warmup_epochs
        self.conditional = conditional
        self.average_decay = average_decay
        self.architecture = architecture
        self.hidden_sizes = hidden_sizes
        self.channels = channels
        self.activation = activation
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.augment = augment
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

    def elbo(
        self, X: Any, y: Any = None, *, n_samples: int = 1, random_state: int = 0
    ) -> NDArray[np.float64]:
        """Return the evidence lower bound of the log-density of each row.

        Its weight of the divergence is 1, whatever `beta` is, so it is a bound. With
        "bernoulli" it bounds the log-probability of rows of 0 and 1; between them no
        density is meant.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        y : array-like of shape (n_samples,), default=None
            Labels, for the density given the class; without them, and if not
            conditional, that of all classes.
        n_samples : int, default=1
            Draws of the latents of a row, of which the mean is taken.
        random_state : int, default=0
            Seed of the draws. Those of a row depend on it and on the row alone.

        Returns
        -------
        bound : ndarray of shape (n_samples,), float64
            Nats a row, in units of the data.
        """
        rows, codes = self._rows_and_classes(X, y)
        whole, bounds = self._n_classes > 0 and codes is None, []
        for weights in self._log_weights(rows, codes, n_samples, random_state):
            # row by row: means of a stack may add in another order
            means = np.array([row.mean(axis=0) for row in weights])
            bounds.append(means[:, 0] - means[:, 2 if whole else 1])
        return np.concatenate(bounds) + self._log_jacobian

    def log_likelihood(
        self, X: Any, y: Any = None, *, n_samples: int = 64, random_state: int = 0
    ) -> NDArray[np.float64]:
        """Return the importance-weighted bound of the log-density of each row.

        ``log mean_k p(x, z_k) / q(z_k | x)`` grows with `n_samples`, from the evidence
        lower bound towards the log-density [1]_. With "bernoulli" it bounds the
        log-probability of rows of 0 and 1; between them no density is meant.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        y : array-like of shape (n_samples,), default=None
            Labels, for the density given the class; without them, and if not
            conditional, that of all classes.
        n_samples : int, default=64
            Draws of the latents of a row; the first ones are those of fewer.
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
        rows, codes = self._rows_and_classes(X, y)
        bounds = [
            float(importance_bound(torch.from_numpy(row[:, 0] - row[:, 2])))
            for weights in self._log_weights(rows, codes, n_samples, random_state)
            for row in weights
        ]
        return np.array(bounds) + self._log_jacobian

    def _rows_and_classes(
        self, X: Any, y: Any
    ) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        if self.loss == "bce":
            top = 255.0 if self._is_uint8 else 1.0
            check_unit_range("X", rows, top, *self._range_choice)
        if y is None or not self._n_classes:
            return rows, None
        return rows, self._classes_of(y, len(rows))

    def _log_weights(
        self,
        rows: NDArray[Any],
        codes: NDArray[np.int64] | None,
        n_samples: int,
        random_state: int,
    ) -> Iterator[NDArray[np.float64]]:
        """Yield, for some rows at a time, what bounds of each draw are made of.

        That is log p(x | z), KL(q || p) and log q(z | x) - log p(z), in units of the
        networks, as arrays of shape (some, n_samples, 3).
        """
        n_samples = check_int("n_samples", n_samples)
        seed = check_int("random_state", random_state, 0)
        some, shape = max(1, _DECODED // n_samples), (n_samples, self.n_components_)
        of = torch.from_numpy(np.zeros(len(rows), np.int64) if codes is None else codes)
        prior = [part.cpu().numpy() for part in self.prior_.of(of.to(self.device_))]
        terms = partial(self._terms, whole=codes is None)
        for start in range(0, len(rows), some):
            at = slice(start, start + some)
            part = rows[at]
            noise = [it.standard_normal(shape) for it in row_streams(part, seed)]
            fixed = [self._posterior(part), *(p[at] for p in prior)]
            fixed.append(standardize(part, self.shift_, self.scale_))
            repeated = np.repeat(np.hstack(fixed), n_samples, axis=0)
            given = np.hstack([np.concatenate(noise), repeated]).astype(np.float32)
            found = [
                self._map(terms, given[i : i + _DECODED])
                for i in range(0, len(given), _DECODED)
            ]
            yield np.concatenate(found).astype(np.float64).reshape(-1, n_samples, 3)

    def _terms(self, block: Tensor, whole: bool) -> Tensor:
        """Return the three terms for rows of noise, code, prior and the row itself."""
        k = self.n_components_
        noise, code, mean_p, log_p, x = block.split(
            [k, 2 * k, k, k, self.n_features_in_], dim=1
        )
        mean, log_variance = split_code(code)
        z = mean + (0.5 * log_variance).exp() * noise
        reconstruction = self.likelihood_(x, self.decoder_(z))
        divergence = kl_of_normals(mean, log_variance, mean_p, log_p).sum(1)
        log_prior = (
            self.prior_.log_density(z) if whole else log_normal(z, mean_p, log_p)
        )
        estimate = log_normal(z, mean, log_variance) - log_prior
        return torch.stack([reconstruction, divergence, estimate], dim=1)

    def _posterior(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return means and log-variances of the latents, (n, 2 n_components)."""
        return self._map(
            self.encoder_,
            rows,
            lambda part: standardize(part, self.shift_, self.scale_),
        )

    def _map(
        self,
        function: Callable[[Tensor], Tensor],
        rows: NDArray[Any],
        prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> NDArray[np.float32]:
        with isolated_streams(0) if self._is_foreign else nullcontext():
            return map_rows(
                function, rows, self.device_, prepare, alone=self._is_foreign
            )

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        codes = self._codes_for(n_samples, y, rng)
        Z = rng.standard_normal((n_samples, self.n_components_))
        if codes is not None:
            of = torch.from_numpy(codes).to(self.device_)
            mean, log_variance = (it.cpu().numpy() for it in self.prior_.of(of))
            Z = mean + np.exp(0.5 * log_variance) * Z
        rows = self._decode(Z.astype(np.float32)).astype(np.float32)
        rows[:, self._is_constant] = self.mean_[self._is_constant]
        return rows

    @property
    def loss(self) -> str:
        """What an autoencoder calls the likelihood."""
        return _LOSSES[self.likelihood]

    @property
    def _log_jacobian(self) -> float:
        """Logarithm of what a density in units of the data is, over the networks'."""
        return -float(np.log(self.scale_).sum()) if self.loss == "mse" else 0.0

    @property
    def _scales_rows(self) -> bool:
        return True

    @property
    def _code_width(self) -> int:
        return 2 * self.n_components_

    def _from_encoder(self, Z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(Z[:, : self.n_components_])

    def _shown(self) -> nn.Module:
        return Columns(self.n_components_)

    def _check_parameters(self, rows: NDArray[Any], goes_on: bool) -> None:
        n_features = rows.shape[1]
        check_int(
            "n_components",
            self.n_components,
            1,
            n_features,
            hint=f"X has n_features={n_features}; an autoencoder maps to no more.",
        )
        check_choice("likelihood", self.likelihood, tuple(_LOSSES))
        check_real("beta", self.beta, 0.0)
        check_real("free_bits", self.free_bits, 0.0)
        check_int("kl_warmup_epochs", self.kl_warmup_epochs, 0)
        check_bool("conditional", self.conditional)
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        self._check_networks(rows, goes_on)
        self.n_components_ = int(self.n_components)

    def _classes_of(self, y: Any, n: int) -> NDArray[np.int64]:
        """Return labels of `n` rows as positions in `classes_`."""
        labels = check_labels_of_rows(y, n)
        codes = self._codes_for(n, labels, np.random.RandomState(0))
        assert codes is not None
        return codes

    def _more_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        if not (self.conditional and self._n_classes):
            return None
        codes = self._classes_of(y, n)
        self._class_counts = self._class_counts + np.bincount(
            codes, minlength=self._n_classes
        )
        self.class_prior_ = self._class_counts / self._class_counts.sum()
        return codes

    def _learn_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        codes = super()._learn_labels(y, n)
        if codes is not None:
            self._class_counts = np.bincount(codes)
        return codes

    def _trains_as(self, rows: NDArray[Any]) -> tuple[Any, ...]:
        return (*super()._trains_as(rows), bool(self.conditional))

    def _set_units(self, rows: NDArray[Any]) -> None:
        super()._set_units(rows)
        self._is_constant = rows.min(axis=0) == rows.max(axis=0)

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        shares = None
        if self._n_classes:
            shares = torch.from_numpy(self.class_prior_)
        gaussian = self._trained_as[0] == "mse"
        return {
            **super()._build_networks(seed),
            "prior_": NormalPrior(self._n_classes, self.n_components_, shares),
            "likelihood_": GaussianLikelihood() if gaussian else BernoulliLikelihood(),
        }

    def _try_out(self, networks: dict[str, nn.Module], seed: int) -> None:
        parts = ("encoder_", "decoder_")
        super()._try_out({name: networks[name] for name in parts}, seed)

    def _program(
        self, networks: dict[str, nn.Module], n_rows: int, done: int
    ) -> VariationalProgram:
        batches = -(-n_rows // self.batch_size)
        return VariationalProgram(
            networks,
            self._new_optimizer(networks),
            beta=self.beta,
            free_bits=self.free_bits,
            average_decay=self.average_decay,
            warmup_steps=self.kl_warmup_epochs * batches,
            n_steps=done * batches,
            prepare=self._units_on_device() if self._is_uint8 else None,
            augment=self._augment_on_device(),
            half=self.precision == "bf16",
            foreign=self._is_foreign,
        )

    def _finish(self, program: VariationalProgram, rows: NDArray[Any]) -> None:
        for name, network in program.final.items():
            setattr(self, name, network)
        self.__dict__.pop("noise_variance_", None)
        if isinstance(self.likelihood_, GaussianLikelihood):
            scale = float(self.scale_[0])
            self.noise_variance_ = float(self.likelihood_.variance) * scale**2

    def _look_back(self, rows: NDArray[Any], codes: NDArray[np.int64] | None) -> None:
        code = torch.from_numpy(self._posterior(rows[:_PROBE_ROWS]))
        mean, log_variance = split_code(code.to(self.device_))
        of = None
        if codes is not None:
            of = torch.from_numpy(codes[:_PROBE_ROWS]).to(self.device_)
        nats = self.prior_.divergence(mean, log_variance, of).mean(0)
        if float(nats.max()) < _NO_NEWS:
            warnings.warn(
                "The latents collapsed to their prior: none tells more than "
                f"{float(nats.max()):.2g} nats of a row. Lower beta, raise "
                "free_bits, or let the divergence in slowly by kl_warmup_epochs.",
                CollapseWarning,
                stacklevel=3,
            )
