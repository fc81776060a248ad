"""Features of a small classifier that is trained on the labels of the images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
)
from torch import Tensor, from_numpy, nn

from .._conditional import check_labels_of_rows, every_class_kept
from .._random import draw_seed, torch_generator
from .._validation import check_real
from ..base import (
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..nn import check_augment
from ..nn.backbones import FeatureNetwork, HeadedNetwork, StagedNetwork
from ..nn.features import LayerFeatures
from ..nn.modules import linear
from ..training import make_optimizer
from ._base import FeatureTransformer
from ._classifier_program import ClassifierProgram
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

_STEPS, _LEAST_EPOCHS = 1500, 6  # where max_epochs is None


class ClassifierFeatures(FeatureTransformer):
    r"""Map images to the last hidden layer of a classifier of their labels.

    A small convolutional network (a perceptron for strips) learns to name the classes
    by the cross-entropy

    .. math:: -\mathrm{mean}\,\log \mathrm{softmax}(W h(x) + b)_y

    and `transform` returns h(x), in which the classes are nearly linear to separate and
    an image that is of none of them is often far from all. What tells no classes apart
    is lost on the way: an image that differs from the data in that alone is not seen.
    Each class is a cloud of its own here, so a scorer of these features wants Gaussians
    of the classes: ``MahalanobisScorer(class_conditional=True)``, with `relative=True`
    or ``class_covariance="full", normalize="l2"`` where a new class is close. Needs
    labels; without them take `SelfSupervisedFeatures`.

    Parameters
    ----------
    n_features : int, default=64
        Width of the last hidden layer.
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
        and "output", the logits. None is the last hidden one.
    pooling : {"mean", "max", "mean_std", "flatten"}, default="mean"
        What becomes of the places of a convolution, channel by channel.
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images of each batch, by name and strength, such as
        ``{"rotate": 12.0, "shift": 0.08}``; see `manifoldgen.nn.augment`.
    dropout : float, default=0.0
        Probability with which what enters a hidden layer is zeroed in training.
    label_smoothing : float, default=0.0
        Share of each target that is spread over all classes, in [0, 1).
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
        Passes through the data, at most. None gives few rows 1,500 steps, and takes
        6 passes at least.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). A class is never held out whole. 0, or fewer than one row, keeps the
        last weights.
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
        Seed of weights, split, batches, changes and dropout.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    network_, head_ : torch.nn.Module
        Images to features, and features to one logit a class, in evaluation mode.
    history_ : History
        Mean `loss` and `validation_loss` of each epoch, in nats a row,
        `validation_accuracy`, and `seconds` since the start.
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
        By `fit`: a parameter outside its range, fewer than 2 rows or classes, no
        labels or missing ones, an `image_shape` that does not match.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied
       to document recognition", Proceedings of the IEEE 86, 1998, section II.B. We have
       3 x 3 kernels, rectifiers and one hidden layer.
    .. [2] K. Lee, K. Lee, H. Lee, J. Shin, "A simple unified framework for detecting
       out-of-distribution samples and adversarial attacks", NeurIPS 2018,
       arXiv:1807.03888 (distances in the features of a classifier).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import ClassifierFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> features = ClassifierFeatures(
    ...     32, image_shape=(1, 8, 8), batch_size=32, max_epochs=20, random_state=0
    ... )
    >>> features.fit(X[:1200], y[:1200]).transform(X[1200:]).shape
    (597, 32)
    >>> (features.predict(X[1200:]) == y[1200:]).mean() > 0.9
    np.True_
    """

    _networks = ("network_", "head_")

    def __init__(
        self,
        n_features: int = 64,
        *,
        image_shape: tuple[int, int, int] | None = None,
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (),
        activation: str = "relu",
        layers: str | Sequence[str] | None = None,
        pooling: Literal["mean", "max", "mean_std", "flatten"] = "mean",
        augment: Mapping[str, float] | Sequence[str] | None = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adamw",
        weight_decay: float = 1e-2,
        learning_rate: float = 3e-3,
        schedule: str = "one_cycle",
        batch_size: int = 128,
        max_epochs: int | None = None,
        validation_fraction: float = 0.1,
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
        self.image_shape = image_shape
        self.channels = channels
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.layers = layers
        self.pooling = pooling
        self.augment = augment
        self.dropout = dropout
        self.label_smoothing = label_smoothing
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
        """Train the classifier on the images of `X` and their labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            Images are (n, height, width) or (n, channels, height, width); uint8 images
            stay so until they reach the device.
        y : array-like of shape (n_samples,)
            Labels of two classes at least.

        Returns
        -------
        self : ClassifierFeatures
        """
        with unchanged_on_error(self):
            check_trained(self)
            check_real("dropout", self.dropout, 0.0, 1.0, closed="left")
            check_real("label_smoothing", self.label_smoothing, 0.0, 1.0, closed="left")
            changed = any(check_augment(self.augment).values())
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._learn_layout(rows)
            if changed:
                check_images("augment", self)
            codes = self._learn_classes(y, len(rows))
            self.device_ = str(resolve_device(self.device))
            rng, checkpoint = self._open_run(None, X=rows, y=codes)
            kept, out = every_class_kept(*self._split(len(rows), rng), codes)
            learn_contrast(self, rows)
            networks = self._build_networks(draw_seed(rng))
            network = cast(FeatureNetwork, networks["network_"])
            headed = HeadedNetwork(network, networks["head_"])
            self._learn_layers(headed, (network.stage_names[-1],))
            program = self._program(networks)
            outcome = self._run(
                program,
                self._tensors(rows, codes, kept),
                self._tensors(rows, codes, out) if len(out) else None,
                rng,
                checkpoint,
                self._n_epochs(len(kept)),
            )
            self.network_, self.head_ = network, program.head
            if ends_unplanned(self.schedule, outcome):
                warn_unconverged(outcome, "validation_loss" if len(out) else "loss")
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`. Their maximum is a score of how normal a row
            is, and a weak one: far from all data it is often near 1.
        """
        logits = self._logits(X).astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        output = LayerFeatures(self._network, ("output",), self.pooling, self._at_once)
        return self._map(output, rows)

    def _learn_classes(self, y: Any, n: int) -> NDArray[np.int64]:
        """Return labels as positions in `classes_`."""
        labels = check_classes(y, n)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "ClassifierFeatures needs 2 classes at least to tell apart, got 1 "
                f"class, y={self.classes_.tolist()[0]!r} alone. Take "
                "SelfSupervisedFeatures for rows of one class."
            )
        return codes.astype(np.int64)

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
            self.dropout,
            generator,
        )
        head = linear(self.n_features, len(self.classes_), generator, gain=1.0)
        return {"network_": network, "head_": head}

    def _program(self, networks: dict[str, nn.Module]) -> ClassifierProgram:
        for network in networks.values():
            network.to(self.device_)
        parameters = [p for m in networks.values() for p in m.parameters()]
        return ClassifierProgram(
            networks["network_"],
            networks["head_"],
            make_optimizer(
                self.optimizer, parameters, self.learning_rate, self.weight_decay
            ),
            shares=shares_of(self),
            normalize=self._units().to(self.device_).normalize,
            change=changes_of(self.augment),
            label_smoothing=self.label_smoothing,
            half=self.precision == "bf16",
        )

    def _n_epochs(self, n_rows: int) -> int:
        return n_epochs_of(
            self.max_epochs, n_rows, self.batch_size, _STEPS, _LEAST_EPOCHS
        )

    def _tensors(
        self, rows: NDArray[Any], codes: NDArray[np.int64], at: NDArray[np.int64]
    ) -> list[Tensor]:
        return [on_device(self, rows[at]), from_numpy(codes[at]).to(self.device_)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def check_classes(y: Any, n: int) -> NDArray[Any]:
    """Return `y` as `n` labels without a missing one, else raise."""
    if y is None:
        raise ValueError(
            "ClassifierFeatures requires y to be passed, but the target y is None. "
            "Pass a label for each row, or take SelfSupervisedFeatures, which needs "
            "none."
        )
    return check_labels_of_rows(column_or_1d(y, warn=True), n, None)
