"""The autoencoder as an estimator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .._validation import check_bool, check_int, check_real
from ..constraints import MahalanobisConstraint, check_constraint
from ..nn import map_rows
from ..nn.affine import Affine
from ._autoencoder_program import AutoencoderProgram, Loss
from ._autoencoding import AutoencodingManifold
from ._parts import whitening_of


class AutoencoderManifold(AutoencodingManifold):
    r"""Learn a curved manifold through the data with an autoencoder.

    An encoder E maps a row to `n_components` numbers and a decoder D maps them back;
    both minimise

    .. math:: \mathrm{mean}\,\ell(D(E(x + \varepsilon)), x)
              + \lambda\,\mathrm{mean}\,E(x + \varepsilon)^2 + \mu\,|w_D|^2

    With the built-in networks and the losses "mse", "l1" and "huber" the columns are
    centred, and divided by one common scale, inside, and "ssim" sees the range of the
    training rows as [0, 1]: the fit is the same for X and for 1000 X, and "mse" the
    share of the variance that is not explained. Other losses, and networks of your own,
    see the data as they are. For linear structure, or fewer than a few hundred rows,
    PCA is faster and as good.

    Parameters
    ----------
    n_components : int, default=2
        Width of the latent space, at most the number of features.
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
        Networks of your own, called as ``encoder(n_features, n_components)`` and
        ``decoder(n_components, n_features)``, with ``image_shape=`` where they take
        it. They map rows to rows. None builds what `architecture` says.
    loss : {"mse", "bce", "l1", "huber", "ssim"} or callable, default="mse"
        "bce" wants data in [0, 1]; a decoder of your own then returns logits. "l1", the
        mean absolute error, and "huber", its square where it is below 1, forgive
        outliers. "ssim", 1 - the structural similarity [3]_, wants images of 3 by 3
        pixels at least, and data in [0, 1] where networks are your own. A callable
        takes output and target, tensors of shape (batch, n_features), and returns a
        scalar.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added to what the encoder sees in
        training [1]_, in units of the common scale ("mse", "l1" and "huber" with
        built-in networks), of the range ("ssim" with them), of 255 (uint8 images) or
        of the data (else).
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images of each batch, by name and strength, that both
        networks see, such as ``{"rotate": 12.0, "shift": 0.08}``; see
        `manifoldgen.nn.augment`. Values stay in the range of X, 0 to 255 for uint8.
        `validation_loss` is of unchanged rows.
    dropout : float, default=0.0
        Probability with which hidden units are zeroed in training, in [0, 1).
    latent_penalty : float, default=0.0
        Weight of the mean squared latent coordinate, lambda, as in a regularised
        autoencoder [2]_; with `decoder_penalty` it keeps latents compact, and the
        decoder smooth between them.
    decoder_penalty : float, default=0.0
        Weight of the sum of the squared weights of the decoder, mu, biases left out. It
        is part of `loss` in `history_`, not of `validation_loss`.
    constraint : MahalanobisConstraint, default=None
        Distance from the training rows that decoded rows are held to: reconstructions,
        and rows decoded from codes beside those of the batch. The weights that are kept
        are then those of the lowest loss among the epochs that keep it on held-out
        rows, and where none does of the one that comes nearest.
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
    whiten : bool, default=False
        Give the latents of the training rows (of the last call, for `partial_fit`)
        mean 0 and covariance 1 by a fixed affine layer after training.
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
        Seed of weights, split, batches, augmentation, noise and dropout.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`.
    history_ : History
        Mean `loss` and `validation_loss` of each epoch, and `seconds` since the start.
        "mse": share of the variance, or squared units of the data with networks of
        your own; "bce": nats per feature; "l1" and "huber": in the common scale, or
        units of the data with networks of your own; "ssim": from 0 to 2.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept, from 1.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows, in units of the data.
    shift_, scale_ : ndarray of shape (n_features,), float
        The networks see ``(x - shift_) / scale_``.
    n_components_ : int
        Width of the latent space.
    image_shape_ : tuple of int or None
        (channels, height, width), for "conv" and for networks that take it.
    constraint_ : MahalanobisConstraint
        Fitted on the training rows, where there is one.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows,
        ``n_components > n_features``, an `image_shape` that does not match, `augment`
        of rows that are no images.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] P. Vincent et al., "Extracting and composing robust features with denoising
       autoencoders", ICML 2008.
    .. [2] P. Ghosh et al., "From variational to deterministic autoencoders",
       ICLR 2020, arXiv:1903.12436, Eq. (11), RAE-L2. Our losses are means over
       features and latents, theirs sums.
    .. [3] Z. Wang et al., "Image quality assessment: from error visibility to
       structural similarity", IEEE Transactions on Image Processing 13, 2004, Eq. (13).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import AutoencoderManifold
    >>> X, _ = load_digits(return_X_y=True)
    >>> manifold = AutoencoderManifold(n_components=8, max_epochs=30, random_state=0)
    >>> Z = manifold.fit_transform(X)
    >>> Z.shape, manifold.inverse_transform(Z).shape
    ((1797, 8), (1797, 64))
    >>> manifold.score(X) > 0.7
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden_sizes: Sequence[int] = (128, 64),
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        image_shape: tuple[int, int, int] | None = None,
        encoder: Callable[..., nn.Module] | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        loss: Literal["mse", "bce", "l1", "huber", "ssim"] | Loss = "mse",
        noise: float = 0.0,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        dropout: float = 0.0,
        latent_penalty: float = 0.0,
        decoder_penalty: float = 0.0,
        constraint: MahalanobisConstraint | None = None,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        batch_size: int = 128,
        max_epochs: int = 500,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        tol: float = 1e-4,
        whiten: bool = False,
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
        self.architecture = architecture
        self.hidden_sizes = hidden_sizes
        self.channels = channels
        self.activation = activation
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.loss = loss
        self.noise = noise
        self.augment = augment
        self.dropout = dropout
        self.latent_penalty = latent_penalty
        self.decoder_penalty = decoder_penalty
        self.constraint = constraint
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.whiten = whiten
        self.warm_start = warm_start
        self.max_time = max_time
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def _program(
        self, networks: dict[str, nn.Module], n_rows: int, done: int
    ) -> AutoencoderProgram:
        return AutoencoderProgram(
            networks["encoder_"],
            networks["decoder_"],
            self._new_optimizer(networks),
            self._loss_function(),
            noise=self.noise,
            latent_penalty=self.latent_penalty,
            decoder_penalty=self.decoder_penalty,
            prepare=self._units_on_device() if self._is_uint8 else None,
            augment=self._augment_on_device(),
            half=self.precision == "bf16",
            foreign=self._is_foreign,
            constraint=self._held(self._decoded_to_data()),
        )

    def _finish(self, program: AutoencoderProgram, rows: NDArray[Any]) -> None:
        self.encoder_, self.decoder_ = program.encoder, program.decoder
        affine, self._latent_affine = getattr(self, "_latent_affine", None), None
        if self.whiten:
            # one row, which only a later partial_fit may bring, has no covariance
            many = len(rows) > 1
            self._latent_affine = whitening_of(self._encode(rows)) if many else affine

    def _check_parameters(self, rows: NDArray[Any], goes_on: bool) -> None:
        n_features = rows.shape[1]
        check_int(
            "n_components",
            self.n_components,
            1,
            n_features,
            hint=f"X has n_features={n_features}; an autoencoder maps to no more.",
        )
        check_bool("whiten", self.whiten)
        check_real("latent_penalty", self.latent_penalty, 0.0)
        check_real("decoder_penalty", self.decoder_penalty, 0.0)
        check_constraint(self.constraint)
        self._check_networks(rows, goes_on)
        self.n_components_ = int(self.n_components)

    def _from_encoder(self, Z: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._latent_affine is None:
            return Z
        mean, whitening, _ = self._latent_affine
        Z64 = Z.astype(np.float64)
        return map_rows(lambda z: (z - mean) @ whitening, Z64, "cpu").astype("f4")

    def _shown(self) -> nn.Module:
        if self._latent_affine is None:
            return nn.Identity()
        mean, whitening, _ = self._latent_affine
        return Affine(mean, whitening)

    def _to_decoder(self, Z: NDArray[Any]) -> NDArray[Any]:
        if self._latent_affine is None:
            return Z
        mean, _, coloring = self._latent_affine
        Z64 = Z.astype(np.float64)
        return map_rows(lambda z: z @ coloring + mean, Z64, "cpu")
