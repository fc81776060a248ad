"""Features that are learned without labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from .._random import draw_seed, torch_generator
from .._validation import check_choice, check_real, check_sizes
from ..base import (
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..nn import MLP, check_augment
from ..nn.backbones import FeatureNetwork, HeadedNetwork, StagedNetwork
from ..nn.transformations import TRANSFORMATIONS, transform_images
from ..training import make_optimizer
from ._base import FeatureTransformer
from ._self_supervised_program import (
    SelfSupervisedProgram,
    SimclrLosses,
    TransformationLosses,
    VicregLosses,
    Views,
)
from ._training import (
    changes_of,
    check_images,
    check_trained,
    ends_unplanned,
    learn_contrast,
    n_epochs_of,
    on_device,
    shares_of,
)

OBJECTIVES = ("transformations", "vicreg", "simclr")
_STEPS, _LEAST_EPOCHS = 3000, 6  # where max_epochs is None
_PERMUTATIONS = 8  # of the columns of strips
_REPLACED = 0.4  # share of the columns of a strip, in each view
_SLIGHT = {"rotate": 10.0, "scale": 0.12, "shift": 0.08}
_STRONG = {"rotate": 15.0, "scale": 0.2, "crop": 0.3, "shift": 0.1, "noise": 0.05}


class SelfSupervisedFeatures(FeatureTransformer):
    r"""Map images to layers of a network that learned from them without labels.

    The network, convolutions and a hidden layer h, learns one of three tasks:

    "transformations"
        to tell which of some fixed transformations, such as a quarter turn, a shift or
        a mirrored half, an image went through: for that it has to know how the images
        are built [1]_. Features are the logits of this, of each transformed copy.
    "vicreg"
        to map two randomly changed views of an image to the same place, while each
        column keeps its spread and no two columns say the same [2]_.
    "simclr"
        to tell the other view of an image from the views of all others [3]_.

    Rows that are no images have views with some columns taken from other rows [4]_,
    and permutations of their columns for transformations.

    Parameters
    ----------
    n_features : int, default=64
        Width of the hidden layer.
    objective : {"transformations", "vicreg", "simclr"}, default="transformations"
        What the network learns.
    image_shape : tuple of int, default=None
        (channels, height, width) of a row. None takes it from an (n, height, width) or
        (n, channels, height, width) array; a 2-D row is a (1, 1, n_features_in) strip,
        whose columns are standardised.
    channels : tuple of int, default=(16, 32)
        Channels of the convolutions, each followed by a mean over squares of 2 pixels.
        Strips have none.
    hidden_sizes : tuple of int, default=()
        Widths of hidden layers before the last one.
    activation : {"relu", "leaky_relu", "silu", "gelu", "tanh"}, default="relu"
        Activation behind each layer.
    layers : str or tuple of str, default=None
        Layers whose features are set side by side: "conv1" and on, "hidden1" and on,
        and "output", what the loss is taken of. None is "output" for "transformations"
        of images, else the last hidden one.
    pooling : {"mean", "max", "mean_std", "flatten"}, default="mean"
        What becomes of the places of a convolution, channel by channel.
    augment : mapping of str to float, or sequence of str, default=None
        Random changes that views are made by, of the images that are transformed too;
        see `manifoldgen.nn.augment`. None is rotations by up to 10 degrees, scales by
        12 % and shifts by 8 % for "transformations", else 15, 20 and 10, crops by 30 %,
        noise, and of three channels colours. () is none.
    transformations : sequence of str, default=None
        Names among `manifoldgen.nn.transformations.TRANSFORMATIONS`, of which "same"
        leaves an image, for ``objective="transformations"``. None is all, without
        turns where images are no squares.
    views : sequence of str, default=None
        Names of transformations, of those above. Features are those of the image after
        each, side by side: what one view does not show of an image another may. None is
        all `transformations` for that objective, where they are what was learned, else
        ("same",). `transform` takes as many passes through the network.
    projector_sizes : tuple of int, default=(128, 128)
        Widths of the layers between features and the loss of two views.
    temperature : float, default=0.5
        Of "simclr", above 0; low ones look at the nearest other views alone.
    invariance_weight, variance_weight, covariance_weight : float, default=25, 25, 1
        Of the terms of "vicreg".
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, default="adamw"
        "sgd" has a Nesterov momentum of 0.9.
    weight_decay : float, default=1e-2
        Decay of all weights; how it enters depends on `optimizer`.
    learning_rate : float, default=3e-3
        Step size.
    schedule : str, default="one_cycle"
        Course of the learning rate over `max_epochs`: "constant", "cosine", "linear",
        "one_cycle" or "plateau".
    batch_size : int, default=128
        Rows in a gradient step; fewer where there are fewer.
    max_epochs : int or None, default=None
        Passes through the data, at most. None gives few rows 3,000 steps, and takes
        6 passes at least.
    validation_fraction : float, default=0.0
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). 0, or fewer than two rows, keeps the last weights.
    patience : int or None, default=None
        Epochs without a better validation loss after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
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
        Seed of weights, split, batches and views.

    Attributes
    ----------
    network_, head_ : torch.nn.Module
        Images to features, and features to what the loss is taken of, in evaluation
        mode.
    transformations_ : tuple of str
        What was told apart, () where that were views or columns.
    history_ : History
        Mean `loss` of each epoch, in nats for "transformations" and "simclr";
        `accuracy` of the former, and `invariance`, `variance` and `covariance`, not
        weighed, of "vicreg"; `validation_` before those of held-out rows; `seconds`.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose weights were kept, from 1.
    layers_ : tuple of str
        The layers that are taken.
    group_lengths_ : tuple of int
        How many features each of them has, in the order of the columns.
    image_shape_ : tuple of int
        (channels, height, width) of a row.
    shift_, scale_ : ndarray of shape (n_features_in,), float64
        Images in [0, 1], or standardised strips, are ``(x - shift_) / scale_``.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of pixels of a row, over all channels.

    Raises
    ------
    TypeError, ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, an `image_shape`
        that does not match, changes or transformations of rows that are no images.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] I. Golan, R. El-Yaniv, "Deep anomaly detection using geometric
       transformations", NeurIPS 2018, arXiv:1805.10917. We take features where they
       take a score of the classifier, and have changes of parts of the image too.
    .. [2] A. Bardes, J. Ponce, Y. LeCun, "VICReg: variance-invariance-covariance
       regularization for self-supervised learning", ICLR 2022, arXiv:2105.04906.
    .. [3] T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for
       contrastive learning of visual representations", ICML 2020, arXiv:2002.05709.
    .. [4] D. Bahri, H. Jiang, Y. Tay, D. Metzler, "SCARF: self-supervised contrastive
       learning using random feature corruption", ICLR 2022, arXiv:2106.15147.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import SelfSupervisedFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> features = SelfSupervisedFeatures(
    ...     32, image_shape=(1, 8, 8), max_epochs=2, random_state=0
    ... )
    >>> features.fit_transform(X[y == 3]).shape, features.transformations_[:3]
    ((183, 529), ('same', 'turn90', 'turn180'))
    """

    _networks = ("network_", "head_")

    def __init__(
        self,
        n_features: int = 64,
        *,
        objective: Literal["transformations", "vicreg", "simclr"] = "transformations",
        image_shape: tuple[int, int, int] | None = None,
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (),
        activation: str = "relu",
        layers: str | Sequence[str] | None = None,
        pooling: Literal["mean", "max", "mean_std", "flatten"] = "mean",
        augment: Mapping[str, float] | Sequence[str] | None = None,
        transformations: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
        projector_sizes: Sequence[int] = (128, 128),
        temperature: float = 0.5,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adamw",
        weight_decay: float = 1e-2,
        learning_rate: float = 3e-3,
        schedule: str = "one_cycle",
        batch_size: int = 128,
        max_epochs: int | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        tol: float = 1e-4,
        max_time: float | None = None,
        precision: Literal["float32", "bf16"] = "float32",
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.objective = objective
        self.image_shape = image_shape
        self.channels = channels
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.layers = layers
        self.pooling = pooling
        self.augment = augment
        self.transformations = transformations
        self.views = views
        self.projector_sizes = projector_sizes
        self.temperature = temperature
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.optimizer = optimizer
        self.weight_decay = weight_decay
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
        """Train the network on the images of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width); uint8 images
            stay so until they reach the device.
        y : None
            Ignored.

        Returns
        -------
        self : SelfSupervisedFeatures
        """
        with unchanged_on_error(self):
            self._check_parameters()
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._learn_layout(rows)
            self._learn_task()
            self.device_ = str(resolve_device(self.device))
            rng, checkpoint = self._open_run(None, X=rows)
            kept, out = self._split(len(rows), rng)
            learn_contrast(self, rows)
            networks = self._build_networks(draw_seed(rng))
            network = cast(FeatureNetwork, networks["network_"])
            headed = HeadedNetwork(network, networks["head_"])
            self._learn_layers(headed, self._default_layers(network))
            program = self._program(networks, draw_seed(rng))
            outcome = self._run(
                program,
                [on_device(self, rows[kept])],
                [on_device(self, rows[out])] if len(out) > 1 else None,
                rng,
                checkpoint,
                self._n_epochs(len(kept)),
            )
            self.network_, self.head_ = network, program.head
            if ends_unplanned(self.schedule, outcome):
                warn_unconverged(outcome, "validation_loss" if len(out) > 1 else "loss")
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def _check_parameters(self) -> None:
        check_trained(self)
        check_choice("objective", self.objective, OBJECTIVES)
        if not check_sizes("projector_sizes", self.projector_sizes):
            raise ValueError(
                "projector_sizes must hold one width at least, that of the loss, got "
                f"{self.projector_sizes!r}."
            )
        check_real("temperature", self.temperature, 0.0, closed="neither")
        for name in ("invariance_weight", "variance_weight", "covariance_weight"):
            check_real(name, getattr(self, name), 0.0)
        check_augment(self.augment)

    @property
    def _is_flat(self) -> bool:
        return min(self.image_shape_[1:]) < 2

    def _learn_task(self) -> None:
        """Fix the changes and the transformations, and check that images bear them."""
        if any(check_augment(self.augment).values()):
            check_images("augment", self)
        for name in ("transformations", "views"):
            if getattr(self, name) is not None:
                check_images(name, self)
        is_task = self.objective == "transformations" and not self._is_flat
        names = self._checked_names("transformations", 2)
        self.transformations_ = names if is_task else ()
        self._views = self.transformations_ or ("same",)
        if self.views is not None:
            self._views = self._checked_names("views", 1)

    def _checked_names(self, parameter: str, least: int) -> tuple[str, ...]:
        """Return the names of transformations in a parameter, those of None all."""
        height, width = self.image_shape_[1:]
        can = [n for n in TRANSFORMATIONS if height == width or "turn" not in n]
        names = getattr(self, parameter)
        if names is None:
            return tuple(can)
        if isinstance(names, str) or len({*names}) < max(len(names), least):
            raise ValueError(
                f"{parameter} must be None or a tuple of different names, {least} at "
                f"least, got {names!r}."
            )
        for name in names:
            if name not in can:
                raise ValueError(
                    f"{parameter} must name transformations among {', '.join(can)} "
                    f"(turns are for squares alone), got {name!r} for images of shape "
                    f"{self.image_shape_}."
                )
        return tuple(names)

    def _default_layers(self, network: FeatureNetwork) -> tuple[str, ...]:
        """Return the layer that told outliers best in digits drawn up for that."""
        return ("output",) if self.transformations_ else network.stage_names[-1:]

    def _changes(self) -> dict[str, float]:
        """Return the strengths of the random changes of views."""
        if self.augment is not None:
            return check_augment(self.augment)
        if self.objective == "transformations":
            return _SLIGHT
        color = {"color": 0.2} if self.image_shape_[0] == 3 else {}
        return {**_STRONG, **color}

    @property
    def _n_outputs(self) -> int:
        return len(self.transformations_) or _PERMUTATIONS

    @property
    def _network(self) -> StagedNetwork:
        return HeadedNetwork(self.network_, self.head_)

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        generator = torch_generator(seed)
        network = FeatureNetwork(
            self.image_shape_,
            () if self._is_strip else self.channels,
            (*self.hidden_sizes, self.n_features),
            self.activation,
            0.0,
            generator,
        )
        sizes: tuple[int, ...] = (self.n_features, *self.projector_sizes)
        if self.objective == "transformations":
            sizes = (self.n_features, self._n_outputs)
        return {"network_": network, "head_": MLP(sizes, generator=generator)}

    def _program(
        self, networks: dict[str, nn.Module], seed: int
    ) -> SelfSupervisedProgram:
        for network in networks.values():
            network.to(self.device_)
        parameters = [p for m in networks.values() for p in m.parameters()]
        optimizer = make_optimizer(
            self.optimizer, parameters, self.learning_rate, self.weight_decay
        )
        return SelfSupervisedProgram(
            networks["network_"],
            networks["head_"],
            optimizer,
            self._losses(seed),
            half=self.precision == "bf16",
        )

    def _losses(self, seed: int) -> Any:
        """Return the losses of the objective; `seed` draws permutations of columns."""
        normalize = self._units().to(self.device_).normalize
        shares, change = self._view(), self._transform(seed)
        if self.objective == "transformations":
            return TransformationLosses(shares, change, normalize, self._n_outputs)

        def view(rows: Tensor, generator: torch.Generator) -> Tensor:
            return normalize(shares(rows, generator))

        if self.objective == "simclr":
            return SimclrLosses(view, self.temperature)
        weights = self.invariance_weight, self.variance_weight, self.covariance_weight
        return VicregLosses(view, weights)

    def _view(self) -> Views:
        """Return what changes rows of a batch into images in shares of the range."""
        shares, change = shares_of(self), changes_of(self._changes())
        if self._is_flat:
            change = replace_columns
            if self.objective == "transformations":
                change = None
        if change is None:
            return lambda rows, generator: shares(rows)
        return lambda rows, generator: change(shares(rows), generator)

    def _transform(self, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
        names = self.transformations_
        if names:
            return lambda images, which: transform_images(images, which, names)
        width = int(np.prod(self.image_shape_))
        stream = np.random.RandomState(seed)
        orders = np.array([stream.permutation(width) for _ in range(_PERMUTATIONS)])
        table = torch.from_numpy(orders).to(self.device_)

        def permute(images: Tensor, which: Tensor) -> Tensor:
            return images.flatten(1).gather(1, table[which]).view_as(images)

        return permute

    def _n_epochs(self, n_rows: int) -> int:
        return n_epochs_of(
            self.max_epochs, n_rows, self.batch_size, _STEPS, _LEAST_EPOCHS
        )


def replace_columns(images: Tensor, generator: torch.Generator) -> Tensor:
    """Take a share of the columns of each row from another row of the batch."""
    n, device = len(images), images.device
    rows = images.flatten(1)
    drawn = torch.rand(rows.shape, generator=generator, device=device) < _REPLACED
    other = torch.randint(n, rows.shape, generator=generator, device=device)
    return torch.where(drawn, rows.gather(0, other), rows).view_as(images)
