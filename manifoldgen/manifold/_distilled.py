"""Any reducer of scikit-learn as a manifold: an encoder learns what it found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import nn

from .._random import draw_seed, isolated_streams
from .._validation import check_int
from ..base import (
    pass_on_interrupt,
    resolve_device,
    seeded_clone,
    unchanged_on_error,
    warn_unconverged,
)
from ..training import Outcome
from ._autoencoder_program import Loss
from ._base import BaseManifold
from ._trainer import (
    WAVE_FREQUENCY,
    anchor_of,
    check_map_parameters,
    map_program,
    n_epochs_of,
    set_landmarks,
    set_map_units,
    spacing_of,
)


class DistilledManifold(BaseManifold):
    r"""Teach a network the map of any reducer, and a second one the way back.

    The reducer, any estimator with `fit_transform`, maps a sample of the rows; an
    encoder E learns its coordinates z and a decoder D the way from E(x) to x:

    .. math:: \mathrm{mean}\, |E(x + \varepsilon) - z| + \mathrm{mean}\,
              \ell(D(E(x + \varepsilon)), x)

    So Isomap, LocallyLinearEmbedding, SpectralEmbedding, MDS or TSNE of scikit-learn
    place new rows, each on its own, go back, and serve more rows than they could take.
    For t-SNE and UMAP themselves `TSNEManifold` and `UMAPManifold` are more faithful.

    Parameters
    ----------
    reducer : estimator, default=None
        With `fit_transform`; cloned, and given a seed where its `random_state` is
        None. None is PCA with 2 components.
    max_reducer_samples : int, default=10000
        Rows that the reducer is given, at most, drawn at random: many reducers take
        time and memory in the square of the rows.
    n_landmarks : int, default=0
        0 regresses the coordinates, right for smooth maps. More, 256 say, is for maps
        torn into islands in up to 3 dimensions: the built-in encoder then places a row
        among as many landmarks of the map (at most one for 4 rows).
    reconstruction_weight : float, default=0.0
        Share of the gradient of the reconstruction that reaches the encoder, >= 0. The
        decoder learns from all of it.
    architecture : {"mlp", "conv"}, default="mlp"
        Built-in networks: perceptrons of `hidden_sizes`, or before them convolutions of
        `channels` on `image_shape`.
    hidden_sizes : tuple of int, default=(256, 256)
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
        it. They map rows to rows, and coordinates have a spread of 1. None builds what
        `architecture` says.
    loss : {"mse", "bce", "l1", "huber", "ssim"} or callable, default="mse"
        Of the reconstruction. "bce" wants data in [0, 1]; a decoder of your own then
        returns logits. "l1" and "huber" forgive outliers. "ssim", 1 - the structural
        similarity, wants images, and data in [0, 1] where networks are your own. A
        callable takes output and target, tensors of shape (batch, n_features), and
        returns a scalar.
    noise : float, default=1.0
        Length of the Gaussian noise added to what the encoder learns from, in median
        distances between nearest neighbours, >= 0: new rows are about as far from the
        training rows.
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images of each batch, by name and strength, such as
        ``{"rotate": 12.0, "shift": 0.08}``; see `manifoldgen.nn.augment`. The encoder
        learns to place a changed image where the reducer placed it unchanged, and the
        decoder to return it unchanged. Values stay in the range of X, 0 to 255 for
        uint8. `validation_loss` is of unchanged rows.
    dropout : float, default=0.0
        Probability with which hidden units are zeroed in training, in [0, 1).
    weight_decay : float, default=0.0
        Decay of all weights; how it enters depends on `optimizer`.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, default="adam"
        "sgd" has a Nesterov momentum of 0.9.
    learning_rate : float, default=2e-3
        Step size of the networks.
    schedule : str, default="one_cycle"
        Course of the learning rate over the epochs: "constant", "cosine", "linear",
        "one_cycle", or "plateau", which halves it where the loss no longer falls.
    batch_size : int, default=256
        Rows in a gradient step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data. None is 20, or what makes 1,000 steps.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to stop early, to keep the best weights and
        for `distillation_score_`, in [0, 1).
    patience : int or None, default=20
        Epochs without a better validation loss after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
    max_time : float, default=None
        Seconds after which the training of the networks stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains in mixed precision; what `transform` returns is float32 in both.
    device : str, default="auto"
        "auto" is CUDA, then MPS, then the CPU.
    checkpoint : str or path-like, default=None
        Folder for a file from which the training of the same fit, killed, resumes with
        the same result. With ``random_state=None`` the seed then follows from the data.
    callbacks : sequence of callable, default=None
        Each is called after an epoch with a dict of its figures; a true answer stops
        training.
    verbose : bool or int, default=False
        Show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of everything random.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_reduced, n_components), float32
        The coordinates that the reducer found.
    reduced_indices_ : ndarray of shape (n_reduced,), int64
        Which training rows those are, ascending.
    distillation_score_ : float
        Share of the variance of the reducer's coordinates that the encoder explains on
        held-out rows, at most 1; NaN where fewer than 2 rows are held out.
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`.
    history_ : History
        Mean `loss` of each epoch and its terms, times their weights: `anchor` (nats
        with landmarks, else spreads of the map) and `reconstruction` ("mse": share of
        the variance, or squared units of the data with networks of your own; "bce":
        nats per feature; "l1" and "huber": in units of `scale_`, or of the data with
        networks of your own; "ssim": from 0 to 2); `validation_loss`, and `seconds`
        since training began.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept, from 1.
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows, in units of the data.
    shift_, scale_ : ndarray of shape (n_features,)
        The networks see ``(x - shift_) / scale_``.
    n_components_ : int
        Width of the map.
    image_shape_ : tuple of int or None
        (channels, height, width), for "conv" and for networks that take it.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    TypeError
        By `fit`: a reducer without `fit_transform`.
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, an `image_shape`
        that does not match, `augment` of rows that are no images, a reducer that
        returns another number of rows, or values that are not finite. What a reducer
        raises itself comes through, with a note.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] G. Hinton et al., "Distilling the knowledge in a neural network", 2015,
       arXiv:1503.02531, for the idea; here the targets are coordinates.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.manifold import Isomap
    >>> from manifoldgen import DistilledManifold
    >>> X, _ = load_digits(return_X_y=True)
    >>> manifold = DistilledManifold(Isomap(n_components=3), random_state=0)
    >>> Z = manifold.fit(X[:500]).transform(X[500:])
    >>> Z.shape, manifold.inverse_transform(Z).shape
    ((1297, 3), (1297, 64))
    >>> manifold.distillation_score_ > 0.8
    True
    """

    _may_be_none = ("max_epochs",)
    _wave_frequency = WAVE_FREQUENCY

    def __init__(
        self,
        reducer: Any = None,
        *,
        max_reducer_samples: int = 10_000,
        n_landmarks: int = 0,
        reconstruction_weight: float = 0.0,
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden_sizes: Sequence[int] = (256, 256),
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        image_shape: tuple[int, int, int] | None = None,
        encoder: Callable[..., nn.Module] | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        loss: Literal["mse", "bce", "l1", "huber", "ssim"] | Loss = "mse",
        noise: float = 1.0,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "one_cycle",
        batch_size: int = 256,
        max_epochs: int | None = None,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        tol: float = 1e-4,
        max_time: float | None = None,
        precision: Literal["float32", "bf16"] = "float32",
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.reducer = reducer
        self.max_reducer_samples = max_reducer_samples
        self.n_landmarks = n_landmarks
        self.reconstruction_weight = reconstruction_weight
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
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.max_time = max_time
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the reducer to a sample of `X`, and the networks to what it found.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            At least 2 rows. The reducer sees rows of floats; images in uint8 are
            divided by 255.
        y : None
            Ignored, by the reducer too.

        Returns
        -------
        self : DistilledManifold
        """
        with unchanged_on_error(self):
            rows = self._validate_rows(X, reset=True, n_min=2)
            check_int("max_reducer_samples", self.max_reducer_samples, 2)
            check_map_parameters(self, rows, False)
            self.device_ = str(resolve_device(self.device))
            rng, checkpoint = self._open_run(None, X=rows)
            self._set_units(rows)
            self._reduce(rows, rng)
            outcome = self._train(rows, rng, checkpoint)
            warn_unconverged(outcome, "validation_loss")
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def _reduce(self, rows: NDArray[Any], rng: np.random.RandomState) -> None:
        """Set the coordinates that the reducer gives to a sample of the rows."""
        reducer, n_rows = self._new_reducer(rng), len(rows)
        n_reduced = min(n_rows, int(self.max_reducer_samples))
        self.reduced_indices_ = np.sort(rng.permutation(n_rows)[:n_reduced])
        some = rows[self.reduced_indices_]
        if self._is_uint8:
            some = some.astype(np.float32) / 255
        streams = isolated_streams(draw_seed(rng))  # of a reducer that takes no seed
        try:
            with streams:
                found = np.asarray(reducer.fit_transform(some))
        except Exception as error:
            error.add_note(f"Raised by reducer={reducer!r} on {n_reduced} rows.")
            raise
        numbers, shape = found.dtype.kind in "biuf", found.shape
        if len(shape) != 2 or shape[0] != n_reduced or not shape[1] or not numbers:
            raise ValueError(
                "reducer.fit_transform must return one row of coordinates for each of "
                f"the {n_reduced} rows that it is given, got shape {shape} of "
                f"{found.dtype} from {reducer!r}."
            )
        with np.errstate(over="ignore"):
            self.embedding_ = found.astype(np.float32)
        if not np.isfinite(self.embedding_).all():
            bad = int((~np.isfinite(self.embedding_)).any(axis=1).sum())
            raise ValueError(
                f"reducer.fit_transform must return finite coordinates, got NaN or "
                f"infinity for {bad} of {n_reduced} rows from {reducer!r}. Drop those "
                "rows, or give the reducer more neighbours."
            )
        self.n_components_ = self.embedding_.shape[1]

    def _new_reducer(self, rng: np.random.RandomState) -> Any:
        seed = draw_seed(rng)
        if self.reducer is None:
            width = min(2, self.n_features_in_)
            return PCA(width, random_state=seed)
        is_class = isinstance(self.reducer, type)
        if is_class or not callable(getattr(self.reducer, "fit_transform", None)):
            raise TypeError(
                "reducer must be an instance of an estimator with fit_transform, got "
                f"{self.reducer!r}. PCA, Isomap, LocallyLinearEmbedding, "
                "SpectralEmbedding, MDS and TSNE of scikit-learn have it."
            )
        return seeded_clone(self.reducer, np.random.RandomState(seed))

    def _train(
        self, rows: NDArray[Any], rng: np.random.RandomState, checkpoint: Any
    ) -> Outcome:
        """Train both networks; rows that the reducer did not see have no place."""
        coordinates = np.full((len(rows), self.n_components_), np.nan, np.float32)
        coordinates[self.reduced_indices_] = set_map_units(self, self.embedding_)
        set_landmarks(self, coordinates, rng)
        networks = self._start(None, draw_seed(rng))
        noise = self.noise * spacing_of(rows, self.shift_, self.scale_, rng)
        program = map_program(self, networks, noise=noise, anchor=anchor_of(self))
        kept, out = self._split(len(rows), rng)
        places = torch.from_numpy(coordinates).to(self.device_)
        outcome = self._run(
            program,
            [self._on_device(rows[kept]), places[kept]],
            [self._on_device(rows[out]), places[out]] if len(out) else None,
            rng,
            checkpoint,
            n_epochs_of(self.max_epochs, len(kept), self.batch_size),
        )
        self.encoder_, self.decoder_ = networks["encoder_"], networks["decoder_"]
        self.distillation_score_ = self._explained(rows, np.sort(out))
        return outcome

    def _explained(self, rows: NDArray[Any], held: NDArray[np.int64]) -> float:
        """Return the share of the variance of held-out coordinates that is met."""
        _, at, among = np.intersect1d(self.reduced_indices_, held, return_indices=True)
        if len(at) < 2:
            return float("nan")
        target = self.embedding_[at].astype(np.float64)
        error = np.square(self._encode(rows[held[among]]) - target).sum()
        total = np.square(target - target.mean(axis=0)).sum()
        return float(1.0 - error / total) if total else float(error == 0.0)
