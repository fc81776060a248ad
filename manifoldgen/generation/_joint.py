"""A manifold and a generator in one, tuned together in data space."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._arrays import column_moments
from .._validation import check_bool, check_int, check_real, check_sizes
from ..base import (
    BaseTorchEstimator,
    SamplerMixin,
    pass_on_interrupt,
    resolve_device,
    seeded_clone,
    unchanged_on_error,
    warn_unconverged,
)
from ..manifold import AutoencoderManifold
from ..manifold._base import BaseManifold
from ..training import Checkpoint, History, Outcome
from ._drawing import draw_rows
from ._energy import EnergyScoreMixin
from ._gan import LatentGAN
from ._joint_tuning import Tuning

_OPTIONS = (  # of tuning
    "average_decay",
    "critic_learning_rate",
    "critic_sizes",
    "generator_weight",
    "gradient_penalty",
    "learning_rate",
    "reconstruction_weight",
)


class JointGenerator(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    EnergyScoreMixin,
    SamplerMixin,
    DensityMixin,
    BaseTorchEstimator,
):
    r"""Generate rows like those of `fit` by a manifold and a generator in one.

    First in stages: the manifold learns latents z of the rows x and a decoder D, the
    generator G learns to draw z. What the two leave, the blur of the decoder and what
    it makes of latents that no row has, neither sees. So both are trained on together
    where it shows, in data space, against a critic C that tells decoded samples from
    rows, each beside the other [1]_:

    .. math:: L_C = \mathrm{E} f(C(x) - C(D(G))) + \tfrac{\gamma}{2}(R_1 + R_2),
              \quad f(t) = \log(1 + e^{-t})

    .. math:: L_{D, G} = \mathrm{E} f(C(D(G)) - C(x))
              + \lambda \, \ell(D(z), x) + \mu L_G(z)

    with the loss of the manifold on rows and their latents, so that it remains one, and
    that of the generator on latents where it has one: the error of the velocity, or
    minus the log-density; a `LatentGAN` has none. The encoder stays as it is, and so
    does `transform`. Where the manifold has `augment`, the first stage alone changes
    images: a critic that saw changed ones would have them drawn.

    Samples of `LatentGAN`, `LatentFlowMatching` and `LatentNormalizingFlow` carry
    gradients; a flow is followed by its own `solver` and `n_steps`, of which a few,
    after reflow, cost a small part of the default. Other generators, `LatentMixture` or
    scikit-learn's GaussianMixture and KernelDensity, are left as they are, and the
    decoder alone is trained on latents that they draw.

    After each epoch the energy distance of held-out rows to decoded samples is
    measured. The last epoch that is as good as the best is kept, and the stages are
    where none is better than they are by more than the error of the difference.

    Parameters
    ----------
    manifold : estimator, default=None
        A manifold of this package. It is cloned; where a `random_state` or `device` of
        it is not set, it gets ours. None is ``AutoencoderManifold()``.
    generator : estimator, default=None
        Has `sample`; cloned and seeded alike. None is ``LatentGAN()``.
    fine_tune_epochs : int, default=10
        Passes through the data in which both are trained together, at most; 0 leaves
        them as the stages are.
    tune_generator : bool, default=True
        Train the generator too, where its samples carry gradients. False trains the
        decoder alone, on latents drawn beforehand, which takes a flow of many steps a
        small part of the time.
    critic_sizes : tuple of int, default=(512, 256)
        Widths of the hidden layers of the critic, a perceptron.
    gradient_penalty : float, default=5.0
        Weight gamma of R1 and R2, the mean squared input gradients of the critic at
        rows and at samples, which it sees in units of one column's spread.
    reconstruction_weight : float, default=1.0
        Weight lambda of the loss of the manifold; 0 lets go of it.
    generator_weight : float, default=1.0
        Weight mu of the loss of the generator.
    average_decay : float, default=0.999
        Weight of the past in the running averages of the networks, which are what is
        kept, in [0, 1).
    learning_rate : float, default=1e-3
        Step size of Adam for decoder and generator.
    critic_learning_rate : float, default=2e-3
        That for the critic.
    schedule : str, default="cosine"
        Course of the learning rates over `fine_tune_epochs`: "constant", "cosine",
        "linear", "one_cycle", or "plateau", which halves it where the loss no longer
        falls.
    batch_size : int, default=64
        Rows in a step; fewer where there are fewer.
    validation_fraction : float, default=0.1
        Share of the rows that tuning leaves out to choose the epoch, in [0, 1). 0, or
        fewer than 2 rows, keeps the last one.
    patience : int or None, default=None
        Epochs without a lower energy distance after which tuning stops.
    tol : float, default=1e-4
        Share by which it has to fall to count as lower.
    max_time : float, default=None
        Seconds after which tuning stops; the parts have their own.
    device : str, default="auto"
        Where tuning runs, and the parts do whose own is "auto": CUDA, then MPS, then
        the CPU.
    checkpoint : str or path-like, default=None
        Folder for a file from which the same fit, killed while it tunes, resumes with
        the same result, once the stages have been fitted again; they have their own.
        With ``random_state=None`` the seed then follows from the data.
    callbacks : sequence of callable, default=None
        Each is called after an epoch of tuning with a dict of its figures; a true
        answer stops it.
    verbose : bool or int, default=False
        Show a progress bar.
    random_state : int, RandomState or None, default=None
        Seed of the parts that have none, and of split, critic, batches and noise.

    Attributes
    ----------
    manifold_, generator_ : estimator
        The fitted parts. Their other figures, such as `history_`, are of the stages.
    history_ : History
        Of each epoch of tuning: mean `loss` and `critic_loss` of the game, in nats a
        pair; `reconstruction`, in units of the loss of the manifold, and where it has
        one the `generator_loss`; `validation_loss`, the energy distance to held-out
        rows in units of a column's spread, with the standard error
        `validation_loss_error` of its difference to that of the stages; and
        `validation_reconstruction`.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose networks were kept, from 1; 0 where the stages
        are.
    classes_ : ndarray of shape (n_classes,)
        Labels, where the generator was fitted with labels.
    n_components_ : int
        Width of the latent space.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the columns; constant columns have scale 0 and
        are sampled as the constant.
    device_ : str
        Where tuning ran.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    TypeError
        If the manifold is no manifold of this package, or the generator has no
        `sample`.
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows, or what the parts
        raise. By `sample`: labels asked of a generator without, or that `fit` did not
        see.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    See Also
    --------
    manifoldgen.GenerativePipeline : The same in stages alone, of any steps.

    References
    ----------
    .. [1] N. Huang, A. Gokaslan, V. Kuleshov, J. Tompkin, "The GAN is dead; long live
       the GAN! A modern GAN baseline", NeurIPS 2024, arXiv:2501.05441, Eqs. (2)-(4).
       We begin with networks that a regression has trained, and hold them to it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import AutoencoderManifold, JointGenerator, LatentMixture
    >>> X, _ = load_digits(return_X_y=True)
    >>> manifold = AutoencoderManifold(8, max_epochs=5)
    >>> joint = JointGenerator(
    ...     manifold, LatentMixture(10), fine_tune_epochs=2, random_state=0
    ... )
    >>> joint.fit(X).sample(3, random_state=0).shape
    (3, 64)
    >>> joint.transform(X).shape
    (1797, 8)
    """

    manifold_: Any
    generator_: Any

    def __init__(
        self,
        manifold: Any = None,
        generator: Any = None,
        *,
        fine_tune_epochs: int = 10,
        tune_generator: bool = True,
        critic_sizes: Sequence[int] = (512, 256),
        gradient_penalty: float = 5.0,
        reconstruction_weight: float = 1.0,
        generator_weight: float = 1.0,
        average_decay: float = 0.999,
        learning_rate: float = 1e-3,
        critic_learning_rate: float = 2e-3,
        schedule: str = "cosine",
        batch_size: int = 64,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        tol: float = 1e-4,
        max_time: float | None = None,
        device: str = "auto",
        checkpoint: Any = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.manifold = manifold
        self.generator = generator
        self.fine_tune_epochs = fine_tune_epochs
        self.tune_generator = tune_generator
        self.critic_sizes = critic_sizes
        self.gradient_penalty = gradient_penalty
        self.reconstruction_weight = reconstruction_weight
        self.generator_weight = generator_weight
        self.average_decay = average_decay
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.max_time = max_time
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """That of the manifold: rows of bytes that are images stay bytes."""
        return getattr(self.manifold, "image_shape", None)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the manifold, the generator on its latents, and tune both.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            As the manifold takes them.
        y : array-like of shape (n_samples,), default=None
            Labels, for the parts that were told to use them, else ignored.

        Returns
        -------
        self : JointGenerator
        """
        with unchanged_on_error(self):
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters()
            self.device_ = str(resolve_device(self.device))
            labels = None if y is None else np.asarray(y).tolist()
            rng, checkpoint = self._open_run(None, X=rows, y=labels)
            self.mean_, self.scale_ = column_moments(rows)
            outcome = self._fit_stages(rows, y, rng)
            if self.fine_tune_epochs and outcome.interrupt is None:
                outcome = self._fine_tune(rows, y, rng, checkpoint)
                warn_unconverged(outcome, "validation_loss")
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the latent coordinates of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), float32
            Those of the manifold, which tuning does not move.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        return np.asarray(self.manifold_.transform(self._as_seen(rows)))

    def inverse_transform(self, Z: Any) -> NDArray[np.float32]:
        """Return the rows of data that the latent coordinates `Z` stand for.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            Reshaped to images where `fit` saw them.
        """
        check_is_fitted(self)
        restored: NDArray[np.float32] = self.manifold_.inverse_transform(Z)
        return restored

    def reconstruction_error(self, X: Any) -> NDArray[np.float64]:
        """Return the mean squared error of each row after there and back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        error : ndarray of shape (n_samples,), float64
            In squared units of the data, averaged over the features.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        error: NDArray[np.float64]
        error = self.manifold_.reconstruction_error(self._as_seen(rows))
        return error

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        Z = np.asarray(draw_rows(self.generator_, n_samples, y, rng, "generator"))
        rows: NDArray[np.float32] = self.manifold_.inverse_transform(Z)
        rows = rows.reshape(n_samples, -1)
        constant = self.scale_ == 0
        rows[:, constant] = self.mean_[constant]
        return rows

    def _check_parameters(self) -> None:
        check_int("fine_tune_epochs", self.fine_tune_epochs, 0)
        check_bool("tune_generator", self.tune_generator)
        check_sizes("critic_sizes", self.critic_sizes)
        for name in ("gradient_penalty", "reconstruction_weight", "generator_weight"):
            check_real(name, getattr(self, name), 0.0)
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        rate = self.critic_learning_rate
        check_real("critic_learning_rate", rate, 0.0, closed="neither")
        self._check_training()
        if not isinstance(self.manifold, BaseManifold | None):
            raise TypeError(
                "manifold must be a manifold of this package, whose decoder can be "
                f"trained on, such as AutoencoderManifold, got {self.manifold!r}. "
                "Other steps chain with a generator in a GenerativePipeline."
            )
        for method in ("fit", "sample"):
            if not hasattr(self._generator_or_default(), method):
                raise TypeError(
                    "generator must be an estimator with fit and sample, got "
                    f"{self.generator!r}, which has no {method}."
                )

    def _generator_or_default(self) -> Any:
        return LatentGAN() if self.generator is None else self.generator

    def _as_seen(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return rows in the shape in which the manifold gets them."""
        return rows if self._shape_in is None else rows.reshape(-1, *self._shape_in)

    def _fit_stages(
        self, rows: NDArray[Any], y: Any, rng: np.random.RandomState
    ) -> Outcome:
        """Fit manifold and generator one after the other."""
        manifold = self.manifold
        manifold = AutoencoderManifold() if manifold is None else manifold
        images = self._as_seen(rows)
        self.manifold_ = self._new_part(manifold, rng).fit(images, y)
        self.n_components_ = self.manifold_.n_components_
        self.generator_ = self._new_part(self._generator_or_default(), rng)
        Z = np.asarray(self.manifold_.transform(images))
        outcome = Outcome(History(), 0, "max_epochs", None)
        try:
            self.generator_.fit(Z, y)
        except KeyboardInterrupt as interrupt:
            try:  # what it has learned so far, if it keeps that
                check_is_fitted(self.generator_)
            except NotFittedError:
                raise interrupt from None
            outcome.interrupt = interrupt
        self.__dict__.pop("classes_", None)
        if hasattr(self.generator_, "classes_"):
            self.classes_ = self.generator_.classes_
        return outcome

    def _new_part(self, part: Any, rng: np.random.RandomState) -> Any:
        """Return a clone with our seeds and device where it has none of its own."""
        part = seeded_clone(part, rng)
        devices = {
            name: self.device
            for name, value in part.get_params().items()
            if name.split("__")[-1] == "device" and value == "auto"
        }
        part.set_params(**devices)
        return part

    def _fine_tune(
        self,
        rows: NDArray[Any],
        y: Any,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
    ) -> Outcome:
        """Train decoder and generator on, and take them over where that helped."""
        parts = self.manifold_, self.generator_
        tuning = Tuning(*parts, self.device_, self.tune_generator)
        Z = np.asarray(self.manifold_.transform(self._as_seen(rows)))
        labels = column_or_1d(y) if hasattr(self, "classes_") else None
        kept, out = self._split(len(rows), rng)
        data = tuning.tensors(rows, Z, labels, rng)
        train, held = ([tensor[list(part)] for tensor in data] for part in (kept, out))
        validation = held if len(out) > 1 else None
        program = tuning.program(
            self.mean_,
            self.scale_,
            rng,
            **{name: getattr(self, name) for name in _OPTIONS},
        )
        staged = {} if validation is None else program.validate(tuple(validation))
        outcome = self._run(
            program, train, validation, rng, checkpoint, self.fine_tune_epochs
        )
        if validation is None or _is_better(outcome, float(staged["loss"])):
            self.manifold_, self.generator_ = tuning.result()
        else:
            outcome.best_epoch = 0
        return outcome

    @property
    def _n_features_out(self) -> int:
        n_components: int = self.n_components_
        return n_components

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _is_better(outcome: Outcome, staged: float) -> bool:
    """Return whether what was kept is nearer to held-out rows, by more than chance."""
    if not outcome.best_epoch:
        return False
    row = outcome.history.rows[outcome.best_epoch - 1]
    return row["validation_loss"] < staged - row["validation_loss_error"]
