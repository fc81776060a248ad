"""The autoencoder whose codes follow a prior, by adversarial training."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._random import draw_seed, torch_generator
from .._validation import check_choice, check_int, check_real, check_sizes
from ..base import SamplerMixin, rest
from ..exceptions import CollapseWarning
from ..neighbors import nearest_neighbors
from ..nn import Critic
from ..nn.games import GAMES
from ..nn.images import ImageCritic
from ..nn.losses import infonce_loss
from ..training import Checkpoint, EdgeSampler, Outcome, Program, Sampler, run
from ..training import make_optimizer as optimizer_of
from ._adversarial_program import AdversarialProgram, DataGame, LatentGame
from ._autoencoder_program import Loss
from ._autoencoding import AutoencodingManifold

_PRIORS = ("normal", "uniform")
_PROBE_ROWS = 2048
_PENALTY_INTERVAL = 4  # steps of the critic of rows from one penalty to the next
_ALMOST_ALL = 0.95  # of the pairs, which a critic that has won tells apart


class AdversarialAutoencoderManifold(SamplerMixin, AutoencodingManifold):
    r"""Learn a manifold and its generator in one training: codes follow a prior.

    An encoder E and a decoder D reconstruct, while a critic C learns to tell codes
    from draws of a prior p, and E learns against it [1]_. `sample` decodes such draws.
    E and D descend

    .. math:: w_r\,\ell(D(z), x) + w_p\,L_G(C(z), C(p)) + w_s\,L_G(C'(D(p)), C'(x))
              + w_n\,L_N(z, z'), \quad z = E(x) + \sigma\varepsilon

    with the losses :math:`L_G` of the game `critic_loss`. With w_s > 0 a second critic
    C' compares rows with decoded draws of the prior, which sharpens what `sample`
    returns [2]_; with w_n > 0 codes of neighbours in the data are kept together. Each
    weight of 0 leaves its term, and its network, out.

    Losses of games do not say how far training is: `validation_prior_distance` does,
    the energy distance of held-out codes to the prior. Training keeps the weights for
    which the weighted sum of that and of the reconstruction is lowest. For the best
    samples, `LatentFlowMatching` on the codes of any manifold is slower and better.

    Parameters
    ----------
    n_components : int, default=2
        Width of the latent space, at most the number of features.
    prior : {"normal", "uniform"}, default="normal"
        What codes are to look like: independent coordinates of mean 0 and variance 1,
        "uniform" between ``-sqrt(3)`` and ``sqrt(3)``.
    reconstruction_weight : float, default=1.0
        Weight w_r of the reconstruction.
    prior_weight : float, default=0.3
        Weight w_p of the game of codes; with ``loss="bce"``, whose slopes are small,
        start at a tenth of that, and at a gradient penalty of 0.05.
    sharpening_weight : float, default=0.0
        Weight w_s of the game of rows. It brings samples nearer to the data, for more
        seconds a step and some of the reconstruction; start at 0.1. On MNIST, at equal
        seconds, the Fréchet distance fell from 18.6 to 7.2, and the squared error rose
        from .0079 to .0087.
    neighbor_weight : float, default=0.0
        Weight w_n of the term of neighbours, `manifoldgen.nn.losses.infonce_loss`.
        It doubles the rows that the encoder sees in a step.
    n_neighbors : int, default=15
        Neighbours of a row that are kept near it; fewer where there are fewer rows.
    critic_sizes : tuple of int, default=(256, 256)
        Widths of the hidden layers of the critics; with ``architecture="conv"`` that of
        rows has convolutions of `channels` before them.
    critic_loss : {"relativistic", "hinge", "wgan-gp", "nonsaturating"}, \
            default="relativistic"
        The game of both critics, see `manifoldgen.nn.games`.
    gradient_penalty : float, default=0.3
        Weight of the penalty on the slopes of the critic of codes: the mean of R1 and
        R2, or with "wgan-gp" that of the slope between two rows, which wants about 10.
    sharpening_penalty : float, default=0.3
        The same of the critic of rows. It is taken every fourth step, and counts four
        times there.
    latent_noise : float, default=0.05
        Standard deviation sigma of the Gaussian noise added to codes in training; much
        of it makes reconstructions worse.
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
        Of the reconstruction. "bce" wants data in [0, 1]; a decoder of your own then
        returns logits. A callable takes output and target, tensors of shape
        (batch, n_features), and returns a scalar.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added to what the encoder sees in
        training, in units of the common scale ("mse", "l1" and "huber" with built-in
        networks), of the range ("ssim" with them), of 255 (uint8 images) or of the
        data (else).
    augment : mapping of str to float, or sequence of str, default=None
        Random changes of the images of each batch, by name and strength, that all
        networks see, see `manifoldgen.nn.augment`.
    dropout : float, default=0.0
        Probability with which hidden units of encoder and decoder are zeroed in
        training, in [0, 1).
    weight_decay : float, default=0.0
        Decay of the weights of encoder and decoder.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"}, default="adam"
        Of encoder and decoder. The critics have Adam without its first moment.
    learning_rate : float, default=2e-3
        Step size of all networks.
    schedule : {"constant", "cosine", "linear", "one_cycle", "plateau"}, \
            default="constant"
        Course of the learning rate over `max_epochs`.
    batch_size : int, default=128
        Rows in a gradient step; fewer where there are fewer.
    max_epochs : int, default=200
        Passes through the data, at most.
    validation_fraction : float, default=0.1
        Share of the rows that are held out to stop early and to keep the best weights,
        in [0, 1). 0, or fewer than one row, keeps the last weights.
    patience : int or None, default=None
        Epochs without a better validation loss after which training stops.
    tol : float, default=1e-4
        Share by which the validation loss has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" trains encoder and decoder in mixed precision.
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
        Seed of weights, split, batches, draws, noise and dropout.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        Fitted networks, in evaluation mode, on `device_`.
    critic_, data_critic_ : torch.nn.Module
        Critics of codes and of rows, where their weights are above 0.
    history_ : History
        Of each epoch: `loss`, the weighted sum, and its parts `reconstruction` (in
        units as of `AutoencoderManifold`), `prior`, `sharpening` and `neighbors` (nats
        a pair, or units of the critic); `critic_loss` and `critic_accuracy`, the share
        of pairs in which the critic of codes prefers the draw of the prior, about 0.5
        where there is no difference; `sharpening_loss` and `sharpening_accuracy` of
        that of rows; `validation_reconstruction`, `validation_prior_distance` (energy
        distance, in units of the prior), their weighted sum `validation_loss`; and
        `seconds` since the start.
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
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of features in a row.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 rows,
        ``n_components > n_features``, an `image_shape` that does not match. By
        `sample`: labels, which it does not learn.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    Warns
    -----
    CollapseWarning
        By `fit`, where the critic of codes tells nearly all of them from the prior.

    References
    ----------
    .. [1] A. Makhzani, J. Shlens, N. Jaitly, I. Goodfellow, B. Frey, "Adversarial
       autoencoders", 2015, arXiv:1511.05644. We differ in the games and in their
       penalties on slopes.
    .. [2] A. Larsen, S. Sonderby, H. Larochelle, O. Winther, "Autoencoding beyond
       pixels using a learned similarity metric", ICML 2016, arXiv:1512.09300. We keep
       the loss of pixels, take none of features, and show the critic no
       reconstructions, which the loss of pixels looks after.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import AdversarialAutoencoderManifold
    >>> X, _ = load_digits(return_X_y=True)
    >>> manifold = AdversarialAutoencoderManifold(8, max_epochs=40, random_state=0)
    >>> Z = manifold.fit_transform(X)
    >>> bool(abs(Z.std(axis=0) - 1.0).max() < 0.3)
    True
    >>> manifold.sample(5, random_state=0).shape
    (5, 64)
    """

    _networks = ("encoder_", "decoder_", "critic_", "data_critic_")

    def __init__(
        self,
        n_components: int = 2,
        *,
        prior: Literal["normal", "uniform"] = "normal",
        reconstruction_weight: float = 1.0,
        prior_weight: float = 0.3,
        sharpening_weight: float = 0.0,
        neighbor_weight: float = 0.0,
        n_neighbors: int = 15,
        critic_sizes: Sequence[int] = (256, 256),
        critic_loss: str = "relativistic",
        gradient_penalty: float = 0.3,
        sharpening_penalty: float = 0.3,
        latent_noise: float = 0.05,
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
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam",
        learning_rate: float = 2e-3,
        schedule: str = "constant",
        batch_size: int = 128,
        max_epochs: int = 200,
        validation_fraction: float = 0.1,
        patience: int | None = None,
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
        self.prior = prior
        self.reconstruction_weight = reconstruction_weight
        self.prior_weight = prior_weight
        self.sharpening_weight = sharpening_weight
        self.neighbor_weight = neighbor_weight
        self.n_neighbors = n_neighbors
        self.critic_sizes = critic_sizes
        self.critic_loss = critic_loss
        self.gradient_penalty = gradient_penalty
        self.sharpening_penalty = sharpening_penalty
        self.latent_noise = latent_noise
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

    def _sample(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        if y is not None:
            raise ValueError(
                f"y={y.tolist()[0]!r} was asked of a {type(self).__name__}, which "
                "learns no labels. Leave y out, or fit LatentFlowMatching("
                "conditional=True) to its codes."
            )
        shape = n_samples, self.n_components_
        if self._trained_prior == "uniform":
            Z = rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), shape)
        else:
            Z = rng.standard_normal(shape)
        rows = self._decode(Z.astype(np.float32)).astype(np.float32)
        rows[:, self._is_constant] = self.mean_[self._is_constant]
        return rows

    def _draw_prior(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """Return draws of the prior on the device of the generator."""
        Z = torch.empty(n_rows, self.n_components_, device=generator.device)
        if self.prior == "uniform":
            return Z.uniform_(-math.sqrt(3.0), math.sqrt(3.0), generator=generator)
        return Z.normal_(generator=generator)

    def _check_parameters(self, rows: NDArray[Any], goes_on: bool) -> None:
        n_features = rows.shape[1]
        check_int(
            "n_components",
            self.n_components,
            1,
            n_features,
            hint=f"X has n_features={n_features}; an autoencoder maps to no more.",
        )
        check_choice("prior", self.prior, _PRIORS)
        for name in (
            "reconstruction_weight",
            "prior_weight",
            "sharpening_weight",
            "neighbor_weight",
            "gradient_penalty",
            "sharpening_penalty",
            "latent_noise",
        ):
            check_real(name, getattr(self, name), 0.0)
        check_int("n_neighbors", self.n_neighbors)
        check_sizes("critic_sizes", self.critic_sizes)
        check_choice("critic_loss", self.critic_loss, GAMES)
        self._check_networks(rows, goes_on)
        self.n_components_ = int(self.n_components)

    def _set_units(self, rows: NDArray[Any]) -> None:
        super()._set_units(rows)
        self._is_constant = rows.min(axis=0) == rows.max(axis=0)

    def _trains_as(self, rows: NDArray[Any]) -> tuple[Any, ...]:
        critics = self.prior_weight > 0, self.sharpening_weight > 0
        return (*super()._trains_as(rows), self.prior, *critics)

    def _fitted_before(self) -> dict[str, Any] | None:
        # not every fit has both critics
        warm = self.warm_start and hasattr(self, "encoder_")
        return dict(vars(self)) if warm else None

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        networks = super()._build_networks(seed)
        generator = torch_generator(draw_seed(np.random.RandomState(seed)))
        if self.prior_weight:
            networks["critic_"] = Critic(
                self.n_components_, self.critic_sizes, generator
            )
        if self.sharpening_weight:
            networks["data_critic_"] = self._new_data_critic(generator)
        return networks

    def _new_data_critic(self, generator: torch.Generator) -> nn.Module:
        if self.architecture == "mlp":
            return Critic(self.n_features_in_, self.critic_sizes, generator)
        return ImageCritic(
            self.image_shape_, self.channels, self.critic_sizes, generator=generator
        )

    def _try_out(self, networks: dict[str, nn.Module], seed: int) -> None:
        pair = {name: networks[name] for name in ("encoder_", "decoder_")}
        super()._try_out(pair, seed)

    def _program(
        self, networks: dict[str, nn.Module], n_rows: int, done: int
    ) -> AdversarialProgram:
        encoder, decoder = networks["encoder_"], networks["decoder_"]
        latent_game = data_game = None
        if self.prior_weight:
            critic = networks["critic_"]
            assert isinstance(critic, Critic)
            latent_game = LatentGame(critic, *self._game(critic), self.gradient_penalty)
        if self.sharpening_weight:
            critic = networks["data_critic_"]
            squash = torch.sigmoid if self.loss == "bce" else _as_it_is
            data_game = DataGame(
                critic,
                *self._game(critic),
                self.sharpening_penalty,
                squash=squash,
                penalty_interval=_PENALTY_INTERVAL,
                half=self.precision == "bf16",
            )
        return AdversarialProgram(
            encoder,
            decoder,
            self._new_optimizer({"encoder_": encoder, "decoder_": decoder}),
            self._loss_function(),
            draw=self._draw_prior,
            probe=self._draw_prior(_PROBE_ROWS, torch_generator(0, self.device_)),
            latent_game=latent_game,
            data_game=data_game,
            reconstruction_weight=self.reconstruction_weight,
            prior_weight=self.prior_weight,
            sharpening_weight=self.sharpening_weight,
            neighbor_weight=self.neighbor_weight,
            neighborhood=infonce_loss,
            latent_noise=self.latent_noise,
            noise=self.noise,
            prepare=self._units_on_device() if self._is_uint8 else None,
            augment=self._augment_on_device(),
            half=self.precision == "bf16",
            foreign=self._is_foreign,
        )

    def _game(self, critic: nn.Module) -> tuple[torch.optim.Optimizer, str]:
        """Return the optimizer of a critic, and the game."""
        optimizer = optimizer_of(
            "adam", critic.parameters(), self.learning_rate, betas=(0.0, 0.99)
        )
        return optimizer, self.critic_loss

    def _edges(self, rows: Tensor, rng: np.random.RandomState) -> Sampler | None:
        """Return a sampler of rows and their neighbours, None where none are needed."""
        if not self.neighbor_weight:
            return None
        seed, width = draw_seed(rng), min(int(self.n_neighbors), len(rows) - 1)
        if width:
            X = rows.cpu().numpy().astype(np.float32)
            found = nearest_neighbors(X, width, random_state=seed).indices
        else:
            found = np.zeros((1, 1), dtype=np.int64)
        table = torch.from_numpy(np.asarray(found, dtype=np.int64))
        return EdgeSampler(table.to(self.device_), self.batch_size)

    def _run(
        self,
        program: Program,
        tensors: list[Tensor],
        validation: list[Tensor] | None,
        rng: np.random.RandomState,
        checkpoint: Checkpoint | None,
        max_epochs: int,
        sampler: Sampler | None = None,
        spent: float = 0.0,
    ) -> Outcome:
        sampler = self._edges(tensors[0], rng)
        return super()._run(
            program, tensors, validation, rng, checkpoint, max_epochs, sampler, spent
        )

    def _run_once(
        self, program: Program, tensors: list[Tensor], rng: np.random.RandomState
    ) -> Outcome:
        sampler = self._edges(tensors[0], rng)
        if sampler is None:
            return super()._run_once(program, tensors, rng)
        source = torch_generator(draw_seed(rng), self.device_)
        outcome = run(program, tensors, sampler, source, max_epochs=1)
        rest(program)
        return outcome

    def _finish(self, program: AdversarialProgram, rows: NDArray[Any]) -> None:
        self.encoder_, self.decoder_ = program.encoder, program.decoder
        self._trained_prior = self.prior
        games = {"critic_": program.latent_game, "data_critic_": program.data_game}
        for name, game in games.items():
            self.__dict__.pop(name, None)
            if game is not None:
                setattr(self, name, game.critic)

    def _keep(self, outcome: Outcome) -> None:
        super()._keep(outcome)
        if "critic_accuracy" not in self.history_ or not self.n_epochs_:
            return
        right = self.history_["critic_accuracy"][self.best_epoch_ - 1]
        if right > _ALMOST_ALL:
            warnings.warn(
                f"The critic of codes tells {right:.0%} of them from the prior in the "
                "epoch that was kept, so samples are not like the data. Raise "
                "prior_weight, gradient_penalty or max_epochs, or lower n_components.",
                CollapseWarning,
                stacklevel=4,
            )


def _as_it_is(output: Tensor) -> Tensor:
    return output
