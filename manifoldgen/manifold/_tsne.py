"""t-SNE as an estimator that places new rows and goes back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ._autoencoder_program import Loss
from ._graph import Coordinates
from ._placed import PlacedManifold
from ._tsne_coordinates import tsne_coordinates


class TSNEManifold(PlacedManifold):
    """Draw the neighbourhoods of data by t-SNE, place new rows, and go back.

    openTSNE computes the coordinates of the training rows [1]_ [2]_. New rows are
    placed by their nearest training rows or by a network, each on its own, and a
    decoder learns the way from the map to the data. t-SNE keeps neighbours together
    and says little of the distances between groups: to generate, or for more than 3
    dimensions, take `NeighborManifold` or `AutoencoderManifold`.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions of the map, 1 to 3; above 2 openTSNE is slow.
    perplexity : float, default=30.0
        How many neighbours count; lowered with a warning where there are too few rows.
    early_exaggeration : float or "auto", default="auto"
        Factor of the attraction in the first `early_exaggeration_iter` iterations;
        "auto" is 12, or `exaggeration` where that is more.
    early_exaggeration_iter : int, default=250
        Iterations with early exaggeration.
    exaggeration : float or None, default=None
        Factor of the attraction afterwards; None is 1. Larger ones make tighter groups.
    n_iter : int, default=500
        Iterations after the early ones.
    initialization : {"pca", "spectral", "random"} or array-like, default="pca"
        Where rows start; an array has shape (n_samples, n_components).
    metric : str, default="euclidean"
        Distance between rows, as in `manifoldgen.neighbors.nearest_neighbors`.
    supervised : bool, default=False
        Let `y`, with -1 where unknown, pull classes apart.
    target_weight : float, default=0.5
        How much the classes count with ``supervised=True``, in [0, 1].
    placement : {"neighbors", "network"}, default="neighbors"
        How `transform` places a row. "neighbors" keeps the training rows: a new row
        goes to the median of the coordinates of the nearest `n_placement_neighbors` of
        them, and a training row to its own. "network" keeps no rows: the encoder, a
        tenth to a hundredth of the time, places training rows too.
    n_placement_neighbors : int, default=15
        For "neighbors".
    n_landmarks : int, default=256
        For "network": landmarks of the map among which the built-in encoder places a
        row, at most one for 4 rows; 0, and more than 3 components, regress the
        coordinates.
    neighbor_weight : float, default=0.0
        For "network": weight of the InfoNCE loss [3]_ of neighbours beside that of the
        coordinates.
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
        For "network": random changes of the images of each batch, by name and strength,
        such as ``{"rotate": 12.0, "shift": 0.08}``; see `manifoldgen.nn.augment`. The
        encoder learns to place a changed image where it is unchanged, and the decoder
        to return it unchanged. Values stay in the range of X, 0 to 255 for uint8.
        `validation_loss` is of unchanged rows. With "neighbors" no network sees rows,
        so there it is an error.
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
    validation_fraction : float, default=0.0
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). 0 trains on all rows for all epochs.
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
    embedding_ : ndarray of shape (n_samples, n_components), float32
        What openTSNE found for the training rows; copies of a row share a place.
    isolated_ : ndarray of shape (n_samples,), bool
        Training rows outside the largest connected part of the graph of neighbours:
        their distance to it on the map means nothing.
    decoder_ : torch.nn.Module
        Fitted network, in evaluation mode, on `device_`.
    encoder_ : torch.nn.Module
        With ``placement="network"`` alone.
    history_ : History
        Mean `loss` of each epoch and its terms, times their weights: with a network
        `anchor` (nats with landmarks, else spreads of the map) and `neighborhood`
        (nats) and `reconstruction` ("mse": share of the variance, or squared units of
        the data with networks of your own; "bce": nats per feature; "l1" and "huber":
        in units of `scale_`, or of the data with networks of your own; "ssim": from 0
        to 2); `validation_loss`, and `seconds` since training began.
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
        By `fit`: a parameter outside its range, fewer than 2 rows, more than 3
        components, an `image_shape` that does not match, `augment` of rows that are no
        images or with ``placement="neighbors"``, no `y` for ``supervised=True``.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] L. van der Maaten, G. Hinton, "Visualizing data using t-SNE", JMLR 9, 2008.
    .. [2] P. Policar et al., "openTSNE: A modular Python library for t-SNE
       dimensionality reduction and embedding", Journal of Statistical Software 109,
       2024. openTSNE optimises the place of a new row from the median of its
       neighbours; we stop at the median, and take copies of a row as one.
    .. [3] S. Damrich et al., "From t-SNE to UMAP with contrastive learning", ICLR
       2023, arXiv:2206.01816, Eq. (10).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import TSNEManifold
    >>> X, _ = load_digits(return_X_y=True)
    >>> manifold = TSNEManifold(n_iter=100, max_epochs=20, random_state=0).fit(X[:500])
    >>> Z = manifold.transform(X[500:])
    >>> Z.shape, manifold.inverse_transform(Z).shape
    ((1297, 2), (1297, 64))
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float = 30.0,
        early_exaggeration: float | Literal["auto"] = "auto",
        early_exaggeration_iter: int = 250,
        exaggeration: float | None = None,
        n_iter: int = 500,
        initialization: Any = "pca",
        metric: str = "euclidean",
        supervised: bool = False,
        target_weight: float = 0.5,
        placement: Literal["neighbors", "network"] = "neighbors",
        n_placement_neighbors: int = 15,
        n_landmarks: int = 256,
        neighbor_weight: float = 0.0,
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
        validation_fraction: float = 0.0,
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
        self.n_components = n_components
        self.perplexity = perplexity
        self.early_exaggeration = early_exaggeration
        self.early_exaggeration_iter = early_exaggeration_iter
        self.exaggeration = exaggeration
        self.n_iter = n_iter
        self.initialization = initialization
        self.metric = metric
        self.supervised = supervised
        self.target_weight = target_weight
        self.placement = placement
        self.n_placement_neighbors = n_placement_neighbors
        self.n_landmarks = n_landmarks
        self.neighbor_weight = neighbor_weight
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

    def _coordinates(
        self, rows: NDArray[Any], labels: Any, rng: np.random.RandomState
    ) -> Coordinates:
        return tsne_coordinates(
            rows,
            self.n_components_,
            perplexity=self.perplexity,
            early_exaggeration=self.early_exaggeration,
            early_exaggeration_iter=self.early_exaggeration_iter,
            exaggeration=self.exaggeration,
            n_iter=self.n_iter,
            initialization=self.initialization,
            metric=self.metric,
            labels=labels,
            target_weight=self.target_weight,
            random_state=rng,
        )
