"""The adversarial generator of images."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._arrays import (
    check_pixel_units,
    image_shape_of,
    refuse_channels_last,
    standardize,
)
from .._random import draw_seed, torch_generator
from .._validation import check_choice, check_int, check_real, check_sizes
from ..exceptions import CollapseWarning
from ..nn import map_rows
from ..nn.augment import check_augment
from ..nn.games import GAMES
from ..nn.images import ImageCritic, ImageGenerator, SpectralImageCritic
from ..nn.losses import energy_distance
from ..training import Outcome, make_optimizer
from ._base import BaseGenerator
from ._energy import EnergyScoreMixin
from ._gan import truncated_normal
from ._image_gan_program import PROBE_ROWS, ImageGANProgram

_STEPS = (2000, 20000)
_STEPS_PER_ROW = 4
_PENALTIES = {"relativistic": 1.0, "hinge": 0.0, "wgan-gp": 10.0, "nonsaturating": 1.0}
_WON = 0.99


class ImageGAN(EnergyScoreMixin, BaseGenerator):
    r"""Generate images like those of `fit` with two convolutional networks at play.

    A generator G turns noise into images, a critic D tells real and generated ones
    apart, and both learn against each other on pixels in [-1, 1]. In the game that is
    the default D is asked which of two images is the real one [1]_:

    .. math:: L_D = \mathrm{E} f(D(x) - D(G(z))) + \tfrac{\gamma}{2}(R_1 + R_2),
              \quad L_G = \mathrm{E} f(D(G(z)) - D(x)), \quad f(t) = \log(1 + e^{-t})

    As in `LatentGAN`, the energy distance between held-out images and samples is
    measured after each epoch, and training keeps the last generator within one
    standard error of the lowest. It draws an image in one pass and its images are
    sharp; a `LatentFlowMatching` on the codes of an `AutoencoderManifold` trains more
    calmly and has an encoder too. Of a thousand images or fewer the critic learns each
    by heart, which `augment` slows.

    Parameters
    ----------
    image_shape : tuple of int, default=None
        (channels, height, width) of a row; None takes it from an X of shape
        (n, height, width) or (n, channels, height, width), and reads the rows of a 2-D
        X as strips of one pixel's height.
    n_noise : int, default=64
        Width of the noise z.
    channels : tuple of int, default=(16, 32)
        Channels after each convolution of the critic, which halves the image; the
        generator goes the other way. A side needs ``2 ** len(channels)`` pixels.
    hidden_sizes : tuple of int, default=(128,)
        Widths of the hidden layers of the critic behind the convolutions, and of the
        generator before them, in reverse. Without one the parts of a stroke do not
        meet: after the same minutes digits of 28 x 28 have ten times the Fréchet
        distance.
    conditional : bool, default=False
        Learn p(x | y) of the discrete labels given to `fit`, two images a class and two
        classes at least. G gets them beside its noise, D by projection [2]_.
    loss : {"relativistic", "hinge", "wgan-gp", "nonsaturating"}, default="relativistic"
        The game: that above; `hinge_loss` with spectral normalisation [3]_; the
        Wasserstein distance, D held to a slope of 1 [4]_; or the classic one, with R1
        [5]_.
    gradient_penalty : float, default=None
        Weight of the penalty on the slopes of D, for pixels in [-1, 1]: gamma of
        ``gamma / 2 (R1 + R2)`` in the relativistic game, of ``gamma / 2 R1`` in the
        hinge and the nonsaturating one, lambda in "wgan-gp". None is 1, for
        "wgan-gp" 10 and for "hinge", whose critic is bounded anyway, 0.
    penalty_interval : int, default=4
        Take the penalty every so many steps, as many times stronger [6]_.
    n_critic_steps : int, default=1
        Steps of D, each on its own batch, for one of G; 5 is usual for "wgan-gp".
    augment : dict of str to float, sequence of str or None, default=None
        Random changes of all images that D sees, real or generated, through which G
        learns as well, so that samples do not show them [7]_: names of
        `manifoldgen.nn.AUGMENTATIONS`, with strengths of your own in a dict. For
        few images, of which D would else know each.
    value_range : tuple of float, default=None
        (low, high) of the pixels, to which samples are clipped. None is (0, 255) for
        uint8, else the extremes of X.
    truncation : float, default=None
        Draw the noise of `sample` from normals that end at so many standard
        deviations, > 0: truer images, and fewer kinds. `fit` does not look at it.
    average_decay : float, default=0.999
        Weight of the past in the running average of the generator that is sampled
        from, in [0, 1).
    learning_rate : float, default=2e-3
        Step size of Adam for both networks.
    schedule : {"constant", "cosine", "linear", "one_cycle"}, default="cosine"
        Course of the learning rate over `max_epochs`.
    batch_size : int, default=64
        Images in a step; fewer where there are fewer. Under half as many that are left
        over in an epoch join the step before.
    max_epochs : int or None, default=None
        Passes through the data, at most. None is as many as make 4 steps for each
        image, but 2,000 steps at least and 20,000 at most, and 20 epochs at least.
    validation_fraction : float, default=0.1
        Share of the images that are held out for the probe, in [0, 1). 0, or fewer
        than 2 images, keeps the last generator.
    patience : int or None, default=None
        Epochs without a better probe after which training stops.
    tol : float, default=1e-4
        Share by which the probe has to fall to count as better.
    warm_start : bool, default=False
        Start `fit` from the fitted weights where there are any of the same shapes.
    max_time : float, default=None
        Seconds after which training stops.
    precision : {"float32", "bf16"}, default="float32"
        "bf16" lets the networks train with half of the digits, a fifth faster on
        processors that know bfloat16; penalties and samples stay in float32.
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
        Seed of weights, split, batches and noise in training.

    Attributes
    ----------
    generator_ : torch.nn.Module
        The averaged generator that the probe chose, on `device_`.
    critic_ : torch.nn.Module
        The critic of the same epoch; after the hinge game the largest singular value
        of each of its weights is 1.
    history_ : History
        Mean `loss` (of the generator) and `critic_loss`, in nats or units of the
        critic; `critic_accuracy`, the share of pairs in which the real image has the
        higher value; `validation_loss` (energy distance of pixels in units of their
        range) with its standard error `validation_loss_error` of each epoch, and
        `seconds` since the start.
    n_epochs_, best_epoch_ : int
        Epochs run, and the one whose generator was kept, from 1.
    classes_ : ndarray of shape (n_classes,)
        Labels, where conditional.
    class_prior_ : ndarray of shape (n_classes,), float64
        Share of each label in training, where conditional.
    image_shape_ : tuple of int
        (channels, height, width) of a row.
    value_range_ : tuple of float
        Lowest and highest value of a pixel.
    mean_, scale_ : ndarray of shape (n_features,), float64
        Mean and standard deviation of the pixels, in whose units `score` measures;
        pixels that never change have scale 0 and are sampled as they are.
    device_ : str
        Where the networks are.
    n_features_in_ : int
        Number of pixels of an image, over all channels.

    Raises
    ------
    ValueError
        By `fit`: a parameter outside its range, fewer than 2 images, images smaller
        than `channels` asks for, values outside `value_range`, ``conditional`` without
        labels, with one class or with a class of one image. By `sample`: labels asked
        of an unconditional model, or labels that `fit` did not see.
    TrainingDivergedError
        By `fit`, where smaller steps did not help.

    Warns
    -----
    CollapseWarning
        Where D told nearly all pairs apart from early on while the probe did not fall,
        or where the samples are further from real images than independent Gaussian
        pixels are.

    References
    ----------
    .. [1] N. Huang, A. Gokaslan, V. Kuleshov, J. Tompkin, "The GAN is dead; long live
       the GAN! A modern GAN baseline", NeurIPS 2024, arXiv:2501.05441, Eqs. (2)-(4).
       We differ in the networks, which are a hundredth of theirs.
    .. [2] T. Miyato, M. Koyama, "cGANs with projection discriminator", ICLR 2018,
       arXiv:1802.05637.
    .. [3] T. Miyato et al., "Spectral normalization for generative adversarial
       networks", ICLR 2018, arXiv:1802.05957.
    .. [4] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017,
       arXiv:1704.00028, Eq. (3).
    .. [5] L. Mescheder, A. Geiger, S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018, arXiv:1801.04406, Eq. (9).
    .. [6] T. Karras et al., "Analyzing and improving the image quality of StyleGAN",
       CVPR 2020, arXiv:1912.04958, section 3.1. We keep the settings of Adam.
    .. [7] S. Zhao et al., "Differentiable augmentation for data-efficient GAN
       training", NeurIPS 2020, arXiv:2006.10738, Eqs. (4) and (5).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from manifoldgen import ImageGAN
    >>> X = load_digits().images[:200]
    >>> gan = ImageGAN(channels=(8, 16), max_epochs=2, random_state=0).fit(X)
    >>> gan.sample(3, random_state=0).shape, gan.value_range_
    ((3, 8, 8), (0.0, 16.0))
    """

    _networks = ("generator_", "critic_")
    generator_: nn.Module
    critic_: nn.Module
    image_shape_: tuple[int, int, int]
    value_range_: tuple[float, float]

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        *,
        n_noise: int = 64,
        channels: Sequence[int] = (16, 32),
        hidden_sizes: Sequence[int] = (128,),
        conditional: bool = False,
        loss: Literal[
            "relativistic", "hinge", "wgan-gp", "nonsaturating"
        ] = "relativistic",
        gradient_penalty: float | None = None,
        penalty_interval: int = 4,
        n_critic_steps: int = 1,
        augment: Mapping[str, float] | Sequence[str] | None = None,
        value_range: tuple[float, float] | None = None,
        truncation: float | None = None,
        average_decay: float = 0.999,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        batch_size: int = 64,
        max_epochs: int | None = None,
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
        self.image_shape = image_shape
        self.n_noise = n_noise
        self.channels = channels
        self.hidden_sizes = hidden_sizes
        self.conditional = conditional
        self.loss = loss
        self.gradient_penalty = gradient_penalty
        self.penalty_interval = penalty_interval
        self.n_critic_steps = n_critic_steps
        self.augment = augment
        self.value_range = value_range
        self.truncation = truncation
        self.average_decay = average_decay
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
        codes = self._codes_for(n_samples, y, rng)
        self._check_truncation()
        inputs = truncated_normal((n_samples, self._n_noise), self.truncation, rng)
        if codes is not None:
            inputs = np.hstack([inputs, self._one_hot(codes)])
        units = map_rows(self.generator_, inputs, self.device_)
        low, high = self.value_range_
        pixels = low + (high - low) * ((units.astype(np.float64) + 1.0) / 2.0)
        constant = self.scale_ == 0.0  # such as the corners of digits
        pixels[:, constant] = self.mean_[constant]
        return np.clip(pixels, low, high).astype(np.float32)

    def _draw_units(self, noise: Tensor, labels: list[Tensor]) -> Tensor:
        """Return standardised pixels, as `BaseGenerator` promises, with gradients."""
        units = self.generator_(torch.cat([noise, *labels], 1))[:, self._modelled]
        low, high = self.value_range_
        mean, scale = self.mean_[self._modelled], self.scale_[self._modelled]
        scale = np.where(scale == 0.0, 1.0, scale)
        slope = torch.tensor((high - low) / 2.0 / scale).to(units)
        return units * slope + torch.tensor(((low + high) / 2.0 - mean) / scale).to(
            units
        )

    def _check_truncation(self) -> None:
        if self.truncation is not None:
            check_real("truncation", self.truncation, 0.0, closed="neither")

    def _check_parameters(self) -> None:
        check_int("n_noise", self.n_noise)
        check_choice("loss", self.loss, GAMES)
        if self.gradient_penalty is not None:
            check_real("gradient_penalty", self.gradient_penalty, 0.0)
        check_int("penalty_interval", self.penalty_interval)
        check_int("n_critic_steps", self.n_critic_steps)
        check_augment(self.augment)
        self._check_truncation()
        check_real("average_decay", self.average_decay, 0.0, 1.0, closed="left")
        check_choice("precision", self.precision, ("float32", "bf16"))
        super()._check_parameters()
        self._check_value_range()
        self._check_sides(self._shape_of_rows())

    def _check_value_range(self) -> None:
        if self.value_range is None:
            return
        rule = f"value_range must be None or (low, high), got {self.value_range!r}."
        if not isinstance(self.value_range, (tuple, list)):
            raise TypeError(rule)
        if len(self.value_range) != 2:
            raise ValueError(rule)
        low, high = (check_real("value_range", end) for end in self.value_range)
        if not low < high:
            raise ValueError(f"{rule[:-1]}, of which the first is not the lower one.")

    def _shape_of_rows(self) -> tuple[int, int, int]:
        refuse_channels_last(self.image_shape, self._shape_in)
        return image_shape_of(self.image_shape, self._shape_in, self.n_features_in_)

    def _check_sides(self, shape: tuple[int, int, int]) -> None:
        channels, side = check_sizes("channels", self.channels), min(shape[1:])
        most = side.bit_length() - 1
        # a strip, which is what rows without a shape are, has nothing to halve there
        if side > 1 and len(channels) > most:
            raise ValueError(
                f"channels must halve images of {shape[1]} x {shape[2]} pixels {most} "
                f"times at most, got {self.channels!r}, which is {len(channels)} "
                f"times. Pass channels={channels[:most]!r}, or larger images."
            )

    def _learn_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        codes = super()._learn_labels(y, n)
        if codes is not None and len(self.classes_) < 2:
            raise ValueError(
                "conditional=True needs 2 classes at least, got one, "
                f"y={self.classes_.tolist()[0]!r}. Set conditional=False."
            )
        return codes

    def _default_steps(self, n_rows: int) -> int:
        return min(max(_STEPS_PER_ROW * n_rows, _STEPS[0]), _STEPS[1])

    def _noise_width(self) -> int:
        return self.n_noise

    def _set_units(self, rows: NDArray[Any]) -> None:
        super()._set_units(rows)
        self.image_shape_ = self._shape_of_rows()
        if self.value_range is not None:
            low, high = map(float, self.value_range)
        elif self._is_uint8:
            low, high = 0.0, 255.0
        else:
            low, high = float(rows.min()), float(rows.max())
        self.value_range_ = low, high

    def _start(self, fitted: dict[str, Any] | None, seed: int) -> dict[str, nn.Module]:
        shape = self._shape_of_rows()
        if fitted is not None and shape != self.image_shape_:
            raise ValueError(
                "Training on from fitted weights needs images of the same shape, "
                f"{self.image_shape_}, got {shape}. Fit with warm_start=False."
            )
        return super()._start(fitted, seed)

    def _on_device(
        self, rows: NDArray[Any], codes: NDArray[np.int64] | None
    ) -> list[Tensor]:
        """Return bytes as they are, and other pixels in [-1, 1]."""
        low, high = self.value_range_
        check_pixel_units("bytes" if self._is_uint8 else None, rows)
        if rows.min() < low or rows.max() > high:
            raise ValueError(
                f"X must hold values in value_range=({low:g}, {high:g}), got "
                f"{float(rows.min()):g} to {float(rows.max()):g}. Scale or clip X, or "
                "declare its range; after a warm start it is that of the first fit."
            )
        if rows.dtype == np.uint8:
            pixels = torch.tensor(rows)  # a copy, since rows may be read-only
        else:
            middle = np.array((low + high) / 2.0)
            pixels = _tensor(standardize(rows, middle, (high - low) / 2.0))
        data = [pixels] if codes is None else [pixels, _tensor(self._one_hot(codes))]
        return [part.to(self.device_) for part in data]

    def _to_units(self) -> Callable[[Tensor], Tensor]:
        """Return what maps rows on the device to pixels in [-1, 1]."""
        low, high = self.value_range_
        scale = 2.0 / (high - low or 1.0)

        def to_units(x: Tensor) -> Tensor:
            return x if x.is_floating_point() else (x.float() - low) * scale - 1.0

        return to_units

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        n_classes, source = self._n_classes, torch_generator(seed)
        n_in, sizes = self.n_noise + n_classes, (self.channels, self.hidden_sizes)
        shape = self.image_shape_
        return {
            "generator_": ImageGenerator(shape, n_in, *sizes, source),
            "critic_": ImageCritic(shape, *sizes, n_classes, source),
        }

    def _program(
        self, networks: dict[str, Any], n_held: int, rng: np.random.RandomState
    ) -> ImageGANProgram:
        generator, critic = networks["generator_"], networks["critic_"]
        n_probes = min(max(4 * n_held, 512), 2 * PROBE_ROWS)
        noise = rng.standard_normal((n_probes, self.n_noise)).astype(np.float32)
        optimizers = {
            name: make_optimizer(
                "adam", module.parameters(), self.learning_rate, betas=(0.0, 0.99)
            )
            for name, module in (("generator", generator), ("critic", critic))
        }
        start = torch_generator(draw_seed(rng))
        given = self.gradient_penalty
        low, high = self.value_range_
        return ImageGANProgram(
            generator,
            copy.deepcopy(generator),
            SpectralImageCritic(critic, start) if self.loss == "hinge" else critic,
            optimizers,
            game=self.loss,
            n_noise=self.n_noise,
            gradient_penalty=_PENALTIES[self.loss] if given is None else given,
            penalty_interval=self.penalty_interval,
            n_critic_steps=self.n_critic_steps,
            average_decay=self.average_decay,
            probe_noise=_tensor(noise).to(self.device_),
            to_units=self._to_units(),
            operations=check_augment(self.augment),
            # labels that differ are as far apart as images are
            label_weight=float(np.linalg.norm(self.scale_)) / (high - low or 1.0),
            least_rows=max(1, self.batch_size // 2),
            half=self.precision == "bf16",
        )

    def _finish(
        self,
        program: ImageGANProgram,
        outcome: Outcome,
        validation: list[Tensor] | None,
    ) -> None:
        self.generator_, self.critic_ = program.average, program.critic
        if isinstance(program.critic, SpectralImageCritic):
            program.critic.settle()
            self.critic_ = program.critic.plain.eval()
        self._n_noise = self.n_noise
        if validation is None or not outcome.history.rows:
            return
        history = outcome.history
        error = history["validation_loss_error"]
        if critic_won(history["critic_accuracy"], history["validation_loss"], error):
            _warn(
                "The critic won: from early on it told nearly all real images from "
                "generated ones, and these came no nearer to held-out ones. Lower "
                "learning_rate, raise gradient_penalty, use augment=..., or fewer "
                "channels."
            )
        else:
            self._warn_of_collapse(program, history["validation_loss"], validation)

    def _warn_of_collapse(
        self,
        program: ImageGANProgram,
        probe: NDArray[np.float64],
        validation: list[Tensor],
    ) -> None:
        """Compare the best probe with that of Gaussian pixels, moments as in fit."""
        x, *labels = (tensor[:PROBE_ROWS] for tensor in validation)
        low, high = self.value_range_
        half = (high - low) / 2.0 or 1.0
        noise = torch.empty(PROBE_ROWS, x.shape[1], device=x.device)
        noise.normal_(generator=torch_generator(0, self.device_))
        gaussian = noise * torch.tensor(self.scale_ / half).to(noise)
        gaussian += torch.tensor((self.mean_ - (low + high) / 2.0) / half).to(noise)
        cycle = torch.arange(PROBE_ROWS, device=x.device) % len(x)
        bound = float(
            energy_distance(
                program.beside(program.to_units(x), labels),
                program.beside(gaussian, [label[cycle] for label in labels]),
            )[0]
        )
        if np.nanmin(probe) > max(bound, 0.0) + 0.1 * program.label_weight:
            _warn(
                "The generator collapsed: its best energy distance to held-out images "
                f"is {np.nanmin(probe):.3g}, that of independent Gaussian pixels is "
                f"{bound:.3g}. Raise max_epochs or gradient_penalty, or lower "
                "learning_rate."
            )


def critic_won(
    accuracy: NDArray[np.float64],
    probe: NDArray[np.float64],
    error: NDArray[np.float64],
) -> bool:
    """Return whether the critic told all apart while the probe did not fall.

    From the end of the first quarter of the epochs on, of which there are 4 at least:
    the share of pairs that it orders right is above 0.99 in each, and the probe never
    falls by more than its standard error below the lowest of that quarter.
    """
    first = max(1, len(accuracy) // 4)
    if len(accuracy) < 4 or accuracy[first:].min() <= _WON:
        return False
    lowest = int(np.argmin(probe[:first]))
    return bool(probe[first:].min() >= probe[lowest] - error[lowest])


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)


def _warn(message: str) -> None:
    # from the line that called fit
    warnings.warn(message, CollapseWarning, stacklevel=5)
