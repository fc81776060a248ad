"""Parametric t-SNE and UMAP: a network learns a map from a graph of neighbours."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._random import draw_seed, random_state_of, torch_generator
from .._validation import check_bool, check_choice, check_int, check_real
from ..base import pass_on_interrupt, resolve_device, unchanged_on_error
from ..nn.losses import infonce_loss, negative_sampling_loss
from ..training import EdgeSampler, Outcome, RowSampler, run
from ._autoencoder_program import Loss
from ._base import BaseManifold
from ._coarse_map import coarse_map
from ._neighbor_graph import training_graph, umap_kernel
from ._parametric_program import landmark_anchor, place_anchor
from ._parts import check_labels
from ._trainer import (
    WAVE_FREQUENCY,
    check_map_parameters,
    gap_of,
    map_program,
    n_epochs_of,
    spacing_of,
    spread_landmarks,
)

_MAX_ANCHORS = 10_000
# of the landmarks, in widths of the kernels: about what t-SNE and UMAP spread over
_SPREAD = {"infonce": 25.0, "negative_sampling": 5.0}
_BEGINNING = 0.5  # of the epochs, more, for the rough map


class NeighborManifold(BaseManifold):
    r"""Learn a map that keeps neighbours together, by a network, with the way back.

    The encoder E pulls each row x and one of its nearest neighbours x' together and
    pushes the other rows of the batch away, and a decoder D learns the way back at the
    same time:

    .. math:: w \, \mathrm{neighbourhood}(E(x), E(x')) + \ell(D(E(x)), x)

    With ``objective="infonce"`` this is a parametric t-SNE, with "negative_sampling" a
    parametric UMAP [1]_ [2]_. New rows cost one pass through the network, and
    `partial_fit` takes rows in while the map stays where it was. A few components are
    to look at; 16 to 64 are to go back and to generate from.

    A built-in encoder of up to 3 components places rows among landmarks, and begins at
    a rough map, the t-SNE of up to 20,000 rows: by neighbours alone, groups that begin
    in pieces do not come together.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions of the map.
    n_neighbors : int, default=15
        Neighbours of a row in the graph; lowered with a warning where there are too
        few rows.
    objective : {"infonce", "negative_sampling"}, default="infonce"
        "infonce" shows more of the structure within groups, "negative_sampling" draws
        the groups tighter.
    min_dist, spread : float, default=0.1, 1.0
        For "negative_sampling": how near rows may be on the map, between 0 and
        `spread`, and the scale of the map.
    negative_sample_rate : float, default=5.0
        For "negative_sampling": weight of the rows pushed away for each pair.
    metric : str, default="euclidean"
        Distance between rows, as in `manifoldgen.neighbors.nearest_neighbors`.
    supervised : bool, default=False
        Let `y`, with -1 where unknown, choose the neighbours of labelled rows among
        those of their class.
    n_landmarks : int, default=256
        The built-in encoder of a map of up to 3 components places rows among as many
        fixed points, spread over the map. 0, and more components, return coordinates
        directly, from random weights on.
    neighbor_weight : float, default=1.0
        Weight of the term of neighbours, > 0.
    anchor_weight : float, default=10.0
        In `partial_fit`: weight of the distance of old rows from where they were.
    reconstruction_weight : float or None, default=None
        Share of the gradient of the reconstruction that reaches the encoder, >= 0. The
        decoder learns from all of it. None is 0 up to 3 components, which show
        neighbours alone, and 100 for more, which are to go back from.
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
    noise : float or None, default=None
        Length of the Gaussian noise added to what the encoder learns from, in median
        distances between nearest neighbours, >= 0: new rows are about as far from the
        training rows. None is 1 up to 3 components, and 0 for more, which go back to
        more detail than the noise leaves.
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images that the encoder learns from, by name and strength,
        such as ``{"rotate": 12.0, "shift": 0.08}``; see `manifoldgen.nn.augment`. A row
        and its neighbour are changed each by itself; neighbours are found among
        unchanged rows. The decoder learns to return the unchanged image, and with more
        than 3 components and a `reconstruction_weight`, where the encoder can keep the
        change, the changed one. Values stay in the range of X, 0 to 255 for uint8.
        `validation_loss` is of unchanged rows.
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
    batch_size : int, default=512
        Rows in a gradient step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data. None is 20, or what makes 1,000 steps.
    validation_fraction : float, default=0.0
        Share of the rows that are held out to stop early by their reconstruction, and
        to keep the best weights, in [0, 1). 0 trains on all rows for all epochs.
    patience : int or None, default=20
        Epochs without a better validation loss after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
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
    embedding_ : ndarray of shape (n_samples, n_components), float32
        Where the encoder places the rows of `fit`, or of the last `partial_fit`.
    isolated_ : ndarray of shape (n_samples,), bool
        Rows of `embedding_` outside the largest connected part of the graph of
        neighbours: their distance to it on the map means nothing.
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`.
    history_ : History
        Mean `loss` of each epoch and its terms, times their weights: `neighborhood`
        (nats), in `partial_fit` `anchor` (spreads of the map) and `reconstruction`
        ("mse": share of the variance, or squared units of the data with networks of
        your own; "bce": nats per feature; "l1" and "huber": in units of `scale_`, or of
        the data with networks of your own; "ssim": from 0 to 2); `validation_loss`, and
        `seconds` since training began.
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
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, an `image_shape`
        that does not match, `augment` of rows that are no images, no `y` for
        ``supervised=True``.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] S. Damrich et al., "From t-SNE to UMAP with contrastive learning", ICLR
       2023, arXiv:2206.01816. All edges of the graph weigh the same, as there; the
       landmarks, the rough map, and the other rows of the batch as negatives of every
       row, are ours.
    .. [2] T. Sainburg et al., "Parametric UMAP embeddings for representation and
       semisupervised learning", Neural Computation 33, 2021, arXiv:2009.12981.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import NeighborManifold
    >>> X, y = load_digits(return_X_y=True)
    >>> manifold = NeighborManifold(max_epochs=50, random_state=0).fit(X[:1000])
    >>> Z = manifold.transform(X[1000:])
    >>> Z.shape, manifold.inverse_transform(Z).shape
    ((797, 2), (797, 64))
    >>> manifold.partial_fit(X[1000:1100]).embedding_.shape
    (100, 2)
    """

    _training_data = ("_anchors",)
    _may_be_none = ("max_epochs", "noise", "reconstruction_weight")
    _wave_frequency = WAVE_FREQUENCY

    embedding_: NDArray[np.float32]
    isolated_: NDArray[np.bool_]
    _anchors: NDArray[Any]

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_neighbors: int = 15,
        objective: Literal["infonce", "negative_sampling"] = "infonce",
        min_dist: float = 0.1,
        spread: float = 1.0,
        negative_sample_rate: float = 5.0,
        metric: str = "euclidean",
        supervised: bool = False,
        n_landmarks: int = 256,
        neighbor_weight: float = 1.0,
        anchor_weight: float = 10.0,
        reconstruction_weight: float | None = None,
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden_sizes: Sequence[int] = (256, 256),
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        image_shape: tuple[int, int, int] | None = None,
        encoder: Callable[..., nn.Module] | None = None,
        decoder: Callable[..., nn.Module] | None = None,
        loss: Literal["mse", "bce", "l1", "huber", "ssim"] | Loss = "mse",
        noise: float | None = None,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        dropout: float = 0.0,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "one_cycle",
        batch_size: int = 512,
        max_epochs: int | None = None,
        validation_fraction: float = 0.0,
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
        self.n_neighbors = n_neighbors
        self.objective = objective
        self.min_dist = min_dist
        self.spread = spread
        self.negative_sample_rate = negative_sample_rate
        self.metric = metric
        self.supervised = supervised
        self.n_landmarks = n_landmarks
        self.neighbor_weight = neighbor_weight
        self.anchor_weight = anchor_weight
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
        self.warm_start = warm_start
        self.max_time = max_time
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the map of `X`, and the way back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            At least 2 rows.
        y : array-like of shape (n_samples,), default=None
            Classes, -1 where unknown, with ``supervised=True``; else ignored.

        Returns
        -------
        self : NeighborManifold
        """
        with unchanged_on_error(self):
            fitted = self._fitted_before()
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters(rows, fitted is not None)
            labels = check_labels(y, len(rows)) if self.supervised else None
            self.device_ = str(resolve_device(self.device))
            rng, checkpoint = self._open_run(fitted, X=rows, y=labels)
            if fitted is None:
                self._set_units(rows)
                self._set_map()
            else:
                self._check_units(rows)
            outcome = self._train(rows, labels, None, fitted, rng, checkpoint)
            self._anchors = _some_of(rows, _MAX_ANCHORS, rng)
            self._n_seen = len(rows)
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Take new rows into the map, and keep old ones where they are.

        Up to 10,000 of the rows seen before, kept for this, are anchored to their
        places and are neighbours of the new rows. The first call is `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
        y : array-like of shape (n_samples,), default=None
            Classes of the new rows, -1 where unknown, with ``supervised=True``; the old
            rows count as unknown.

        Returns
        -------
        self : NeighborManifold
        """
        if not hasattr(self, "encoder_"):
            return self.fit(X, y)
        with unchanged_on_error(self):
            if not hasattr(self, "_anchors"):
                raise ValueError(
                    "NeighborManifold was saved without training rows, which "
                    "partial_fit needs. Save it with include_data=True."
                )
            rows = self._validate_rows(X, reset=False)
            self._check_parameters(rows, True)
            self._check_units(rows)
            labels = check_labels(y, len(rows)) if self.supervised else None
            seed = draw_seed(random_state_of(self.random_state))
            rng = np.random.RandomState([seed, self._n_seen])
            n_new, old = len(rows), self._anchors
            both = np.concatenate([rows, old])
            if labels is not None:
                labels = np.concatenate([labels, np.full(len(old), -1)])
            places = np.full((len(both), self.n_components_), np.nan, np.float32)
            places[n_new:] = self._to_decoder(self._encode(old))
            outcome = self._train(both, labels, places, self.__dict__, rng, None)
            self.embedding_ = self.embedding_[:n_new]
            self.isolated_ = self.isolated_[:n_new]
            self._n_seen += n_new
            n_kept = round(_MAX_ANCHORS * n_new / self._n_seen)
            fresh = _some_of(rows, max(n_kept, _MAX_ANCHORS - len(old)), rng)
            self._anchors = np.concatenate(
                [fresh, _some_of(old, _MAX_ANCHORS - len(fresh), rng)]
            )
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def _check_parameters(self, rows: NDArray[Any], goes_on: bool) -> None:
        check_int("n_components", self.n_components)
        check_int("n_neighbors", self.n_neighbors)
        check_choice("objective", self.objective, ("infonce", "negative_sampling"))
        check_real("spread", self.spread, 0.0, closed="neither")
        check_real(
            "min_dist", self.min_dist, 0.0, self.spread, hint="Its upper end is spread."
        )
        check_real("negative_sample_rate", self.negative_sample_rate, 0.0)
        check_bool("supervised", self.supervised)
        check_real("neighbor_weight", self.neighbor_weight, 0.0, closed="neither")
        check_map_parameters(self, rows, goes_on)
        if goes_on and self.n_components != self.n_components_:
            raise ValueError(
                "n_components must stay what it was in fit where training goes on, "
                f"{self.n_components_}, got {self.n_components}. Put it back, or fit "
                "with warm_start=False."
            )
        self.n_components_ = int(self.n_components)

    def _trains_as(self, rows: NDArray[Any]) -> tuple[Any, ...]:
        return (*super()._trains_as(rows), self.objective, self.n_landmarks)

    def _set_map(self) -> None:
        """Fix the units of the map, and the landmarks that the encoder moves among."""
        self._latent_shift = np.zeros(self.n_components_)
        self._latent_scale, self._landmarks = 1.0, None
        if self.n_landmarks > 1 and self.n_components_ <= 3 and self.encoder is None:
            width = 1.0 if self.objective == "infonce" else float(self.spread)
            self._latent_scale = _SPREAD[self.objective] * width
            self._landmarks = spread_landmarks(self.n_landmarks, self.n_components_)
            self._landmark_radius = gap_of(self._landmarks)

    def _train(
        self,
        rows: NDArray[Any],
        labels: NDArray[np.int64] | None,
        places: NDArray[np.float32] | None,
        fitted: dict[str, Any] | None,
        rng: np.random.RandomState,
        checkpoint: Any,
    ) -> Outcome:
        """Train on rows; those with `places` stay there."""
        neighbors, isolated = training_graph(
            rows, labels, int(self.n_neighbors), self.metric, draw_seed(rng)
        )
        networks = self._start(fitted, draw_seed(rng))
        is_wide = self.n_components_ > 3
        noise = (0.0 if is_wide else 1.0) if self.noise is None else self.noise
        noise *= spacing_of(rows, self.shift_, self.scale_, rng)
        kept, out = self._split(len(rows), rng)
        spent = 0.0
        if fitted is None and self._landmarks is not None:
            known = None if labels is None else labels[kept]
            spent = self._begin(networks, rows[kept], known, noise, rng)
        table = _within(neighbors, kept)
        program = map_program(
            self,
            networks,
            noise=noise,
            anchor=None if places is None else place_anchor,
            neighborhood=self._neighborhood(),
            changed_target=is_wide and self.reconstruction_weight != 0,
        )

        def tensors(part: NDArray[np.int64]) -> list[Tensor]:
            if places is None:
                return [self._on_device(rows[part])]
            given = torch.from_numpy(places[part]).to(self.device_)
            return [self._on_device(rows[part]), given]

        outcome = self._run(
            program,
            tensors(kept),
            tensors(out) if len(out) else None,
            rng,
            checkpoint,
            n_epochs_of(self.max_epochs, len(kept), self.batch_size),
            EdgeSampler(torch.from_numpy(table).to(self.device_), self.batch_size),
            spent,
        )
        self.encoder_, self.decoder_ = networks["encoder_"], networks["decoder_"]
        self.embedding_, self.isolated_ = self._encode(rows), isolated
        return outcome

    def _begin(
        self,
        networks: dict[str, nn.Module],
        rows: NDArray[Any],
        labels: NDArray[np.int64] | None,
        noise: float,
        rng: np.random.RandomState,
    ) -> float:
        """Teach the encoder a rough map, groups in one piece; return the seconds."""
        start = time.monotonic()
        n_epochs = n_epochs_of(self.max_epochs, len(rows), self.batch_size)
        places = coarse_map(
            rows, labels, self.n_components_, self.metric, n_epochs, rng
        )
        outcome = run(
            map_program(self, networks, noise=noise, anchor=landmark_anchor),
            [self._on_device(rows), torch.from_numpy(places).to(self.device_)],
            RowSampler(len(rows), self.batch_size, 2 if self._is_foreign else 1),
            torch_generator(draw_seed(rng), self.device_),
            max_epochs=math.ceil(_BEGINNING * n_epochs),
            schedule="one_cycle",
            max_time=self.max_time,
        )
        pass_on_interrupt(outcome)  # there is no map to keep yet
        return time.monotonic() - start

    def _neighborhood(self) -> Loss:
        """Return the loss of neighbours, in units of the map."""
        scale = self._latent_scale
        if self.objective == "infonce":
            loss: Loss = infonce_loss
        else:
            a, b = umap_kernel(self.min_dist, self.spread)
            rate = float(self.negative_sample_rate)
            loss = partial(negative_sampling_loss, a=a, b=b, n_negatives=rate)

        def scaled(heads: Tensor, tails: Tensor) -> Tensor:
            return loss(scale * heads, scale * tails)

        return scaled


def _some_of(
    rows: NDArray[Any], n_rows: int, rng: np.random.RandomState
) -> NDArray[Any]:
    """Return a copy of up to `n_rows` rows drawn at random."""
    return rows[np.sort(rng.permutation(len(rows))[: max(n_rows, 0)])]


def _within(neighbors: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the neighbours of kept rows by their places among them.

    A neighbour that is not kept gives way to another of the row, or to the row itself.
    """
    if len(kept) == len(neighbors):
        return neighbors
    place = np.full(len(neighbors), -1)
    place[kept] = np.arange(len(kept))
    table = place[neighbors[kept]]
    some = table.max(axis=1)
    some[some < 0] = np.flatnonzero(some < 0)
    return np.where(table < 0, some[:, np.newaxis], table)
