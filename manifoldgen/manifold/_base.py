"""What every manifold shares: an encoder X -> Z, a decoder Z -> X, their units."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._arrays import (
    column_moments,
    image_shape_of,
    refuse_channels_last,
    standardize,
    unstandardize,
    warn_of_coarse_columns,
)
from .._random import isolated_streams, torch_generator
from .._validation import (
    check_choice,
    check_float32_range,
    check_int,
    check_real,
    check_sizes,
)
from ..base import BaseTorchEstimator, continue_from
from ..nn import (
    ACTIVATIONS,
    MLP,
    ConvDecoder,
    ConvEncoder,
    FourierFeatures,
    LandmarkEncoder,
    augment,
    check_augment,
    map_rows,
)
from ..nn.affine import Affine, InDtypeOf
from ..nn.losses import (
    RECONSTRUCTION,
    RECONSTRUCTION_NAMES,
    structural_dissimilarity,
)
from ..training import OPTIMIZERS, make_optimizer
from ._autoencoder_program import Augment, Loss
from ._parts import call_class, check_unit_range

_N_WAVES = 64
_CENTRED = ("mse", "l1", "huber")  # losses of centred rows, in one common scale
_LEAST_SIDE = 3  # of an image with windows of more than one pixel


class BaseManifold(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseTorchEstimator
):
    """X -> Z -> X by an encoder and a decoder, which a subclass trains in `fit`.

    `transform` shows latents as ``_latent_shift + _latent_scale * z`` of what the
    networks use; a subclass with other units overrides `_from_encoder` and
    `_to_decoder`. With `_landmarks`, in units of the networks, the built-in encoder
    places rows among them.
    """

    _networks: tuple[str, ...] = ("encoder_", "decoder_")
    n_components_: int
    _latent_shift: NDArray[np.float64] | None = None
    _latent_scale: float = 1.0
    _landmarks: NDArray[np.float32] | None = None
    _landmark_radius: float = 1.0
    _range_choice = ("loss='bce'", "loss='mse'")  # what needs data in [0, 1], or not
    _may_be_none: tuple[str, ...] = ()  # parameters whose None is chosen by the data
    _wave_frequency = 0.0  # of the waves that the decoder of a map begins with

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the latent coordinates of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), float32
            A row's coordinates do not depend on the rows that come with it.
        """
        check_is_fitted(self)
        return self._encode(self._validate_rows(X, reset=False))

    def inverse_transform(self, Z: Any) -> NDArray[np.float32]:
        """Return the rows of data that the latent coordinates `Z` stand for.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            In the units of the training data; reshaped to (n_samples, height, width)
            or (n_samples, channels, height, width) where `fit` saw images.
        """
        check_is_fitted(self)
        rows = self._decode(self._validate_latents(Z)).astype(np.float32)
        return rows if self._shape_in is None else rows.reshape(-1, *self._shape_in)

    def to_module(self) -> nn.Module:
        """Return a network that maps rows to what `transform` returns for them.

        For losses in the latent space: it is differentiable in the rows, and its own
        weights are copies that stay.

        Returns
        -------
        module : torch.nn.Module
            Takes a float tensor of shape (n_samples, n_features) on `device_`, in units
            of the training data, 0 to 255 where those were uint8, and returns one of
            shape (n_samples, n_components), equal to `transform` to rounding.

        Raises
        ------
        ValueError
            If rows are placed without a network, by ``placement="neighbors"``.
        """
        check_is_fitted(self)
        if not hasattr(self, "encoder_"):
            raise ValueError(
                f"to_module needs an encoder, and this {type(self).__name__} places "
                "rows by their neighbours. Fit it with placement='network'."
            )
        shift, scale = (
            torch.as_tensor(part, dtype=torch.float64)
            for part in (self.shift_, self.scale_)
        )
        encoder = InDtypeOf(copy.deepcopy(self.encoder_))
        steps = [Affine(shift, 1.0 / scale), encoder, self._shown()]
        module = nn.Sequential(*steps).eval().requires_grad_(False)
        if torch.device(self.device_).type == "mps":  # which has no float64
            module = module.float()
        return module.to(self.device_)

    def _shown(self) -> nn.Module:
        """Return what `_from_encoder` does, as a module."""
        if self._latent_shift is None:
            return nn.Identity()
        shift = torch.as_tensor(self._latent_shift, dtype=torch.float64)
        scale = torch.full_like(shift, self._latent_scale)
        return Affine(torch.zeros_like(shift), scale, shift)

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
        return np.square(rows - self._reconstruct(rows)).mean(axis=1)

    def score(self, X: Any, y: Any = None) -> float:
        """Return ``1 - squared error / squares about the training mean``.

        It grows with `n_components` by nature, so it compares models of one width.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images as `fit` saw them
        y : None
            Ignored.

        Returns
        -------
        score : float
            At most 1, which is a perfect reconstruction; 0 is what the mean gives.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X, reset=False)
        error = float(np.square(rows - self._reconstruct(rows)).sum())
        total = float(np.square(rows - self.mean_).sum())
        if total == 0.0:
            return 1.0 if error == 0.0 else 0.0
        return 1.0 - error / total

    def _reconstruct(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return self._decode(self._encode(rows))

    def _validate_latents(self, Z: Any) -> NDArray[Any]:
        latents = check_array(Z, dtype=[np.float32, np.float64], input_name="Z")
        if latents.shape[1] != self.n_components_:
            raise ValueError(
                f"Z must have n_components={self.n_components_} columns, as transform "
                f"returns them, got {latents.shape[1]}."
            )
        check_float32_range("Z", latents)
        return latents

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check_networks(self, rows: NDArray[Any], goes_on: bool) -> None:
        """Check the parameters of networks, loss and training."""
        check_choice("architecture", self.architecture, ("mlp", "conv"))
        check_sizes("hidden_sizes", self.hidden_sizes)
        check_sizes("channels", self.channels)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("precision", self.precision, ("float32", "bf16"))
        if self.max_epochs is not None or "max_epochs" not in self._may_be_none:
            check_int("max_epochs", self.max_epochs)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_real("dropout", self.dropout, 0.0, 1.0, closed="left")
        for name in ("noise", "weight_decay"):
            if getattr(self, name) is not None or name not in self._may_be_none:
                check_real(name, getattr(self, name), 0.0)
        if not callable(self.loss):
            check_choice("loss", self.loss, RECONSTRUCTION_NAMES)
        for name in ("encoder", "decoder"):
            network = getattr(self, name)
            instance = isinstance(network, nn.Module)
            if network is not None and (instance or not callable(network)):
                raise TypeError(
                    f"{name} must be None or a class, called with two widths, got "
                    f"{network!r}. Pass the class itself, not an instance."
                )
        self._check_training()
        self._check_augment(rows.shape[1])
        if self.loss == "ssim":
            self._check_sides(rows.shape[1])
        if self.loss == "bce":
            bytes_before = goes_on and self._is_uint8
            top = 255.0 if bytes_before else 1.0
            check_unit_range("X", rows, top, *self._range_choice)

    def _check_sides(self, n_features: int) -> None:
        shape = self._image_shape(n_features)
        if min(shape[1:]) < _LEAST_SIDE:
            raise ValueError(
                f"loss='ssim' needs images of {_LEAST_SIDE} by {_LEAST_SIDE} pixels at "
                f"least, got rows of shape {shape}. Pass image_shape=(channels, "
                "height, width) or an (n, height, width) array, or use loss='mse'."
            )

    def _check_augment(self, n_features: int) -> None:
        strengths = check_augment(getattr(self, "augment", None))
        if any(strengths.values()) and min(self._image_shape(n_features)[1:]) < 2:
            raise ValueError(
                "augment needs images of 2 by 2 pixels at least, got rows of shape "
                f"{self._image_shape(n_features)}. Pass image_shape=(channels, height, "
                "width) or an (n, height, width) array, or set augment=None."
            )

    def _image_shape(self, n_features: int) -> tuple[int, int, int]:
        """Return (channels, height, width) of a row and check that it fits."""
        # perceptrons see no layout, so it is all the same to them
        changed = getattr(self, "augment", None) is not None
        if self.architecture != "mlp" or self._is_foreign or changed:
            refuse_channels_last(self.image_shape, self._shape_in)
        return image_shape_of(self.image_shape, self._shape_in, n_features)

    def _trains_as(self, rows: NDArray[Any]) -> tuple[Any, ...]:
        """Return what the units of the networks depend on, besides the data."""
        loss = self.loss if isinstance(self.loss, str) else "callable"
        own = (self.encoder is not None, self.decoder is not None)
        return (loss, *own, *self._image_shape(rows.shape[1]))

    def _check_units(self, rows: NDArray[Any]) -> None:
        """Raise where training would go on in other units than it began in."""
        now = self._trains_as(rows)
        if now != self._trained_as:
            raise ValueError(
                "Training on from fitted weights needs the loss, the image_shape and "
                "the kinds of networks that they were fitted with: (loss, own encoder, "
                f"own decoder, image_shape, ...) was {self._trained_as}, is {now}. Put "
                "the parameters back, or fit with warm_start=False."
            )

    def _set_units(self, rows: NDArray[Any]) -> None:
        """Fix what the networks see: ``(x - shift_) / scale_``."""
        self.image_shape_ = self._image_shape(rows.shape[1])
        self.mean_, std = column_moments(rows)
        warn_of_coarse_columns(type(self).__name__, self.mean_, std)
        self._is_uint8 = rows.dtype == np.uint8
        self._value_range = (0.0, 255.0)
        if not self._is_uint8:
            self._value_range = (float(rows.min()), float(rows.max()))
        self._trained_as = self._trains_as(rows)
        scale = 255.0 if self._is_uint8 else 1.0
        self.shift_ = np.zeros_like(self.mean_)
        if self._scales_rows and self.loss in _CENTRED:
            self.shift_ = self.mean_
            scale = float(np.sqrt(np.square(std).mean())) or 1.0
        elif self._scales_rows and self.loss == "ssim" and not self._is_uint8:
            low, high = float(rows.min()), float(rows.max())
            self.shift_, scale = np.full_like(self.mean_, low), (high - low) or 1.0
        self.scale_ = np.full_like(self.mean_, scale)

    @property
    def _scales_rows(self) -> bool:
        """Whether networks see scaled rows, or the data as they are."""
        return self.encoder is None and self.decoder is None

    @property
    def _code_width(self) -> int:
        """How many numbers the encoder returns for a row."""
        return self.n_components_

    @property
    def _is_foreign(self) -> bool:
        return any(callable(part) for part in (self.encoder, self.decoder, self.loss))

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        generator = torch_generator(seed)
        with isolated_streams(seed) if self._is_foreign else nullcontext():
            encoder = self._new_encoder(generator)
            decoder = self._new_decoder(generator)
        return {"encoder_": encoder, "decoder_": decoder}

    def _new_encoder(self, generator: torch.Generator) -> nn.Module:
        shape, n_in, n_out = self.image_shape_, self.n_features_in_, self._code_width
        if self.encoder is not None:
            return call_class("encoder", self.encoder, n_in, n_out, shape)
        if self._landmarks is not None:
            n_out = len(self._landmarks)
        if self.architecture == "conv":
            network: nn.Module = ConvEncoder(
                shape,
                n_out,
                self.channels,
                self.hidden_sizes,
                self.activation,
                self.dropout,
                generator,
            )
        else:
            sizes = (n_in, *self.hidden_sizes, n_out)
            network = MLP(sizes, self.activation, self.dropout, generator)
        if self._landmarks is None:
            return network
        landmarks = torch.tensor(self._landmarks, dtype=torch.float32)
        return LandmarkEncoder(network, landmarks, self._landmark_radius)

    def _new_decoder(self, generator: torch.Generator) -> nn.Module:
        shape, n_in, n_out = self.image_shape_, self.n_components_, self.n_features_in_
        if self.decoder is not None:
            return call_class("decoder", self.decoder, n_in, n_out, shape)
        waves = None
        if self._wave_frequency and n_in <= 3:
            waves = FourierFeatures(n_in, _N_WAVES, self._wave_frequency, generator)
            n_in += 2 * _N_WAVES
        if self.architecture == "conv":
            network: nn.Module = ConvDecoder(
                shape,
                n_in,
                self.channels,
                self.hidden_sizes,
                self.activation,
                self.dropout,
                generator,
            )
        else:
            sizes = (n_in, *reversed(self.hidden_sizes), n_out)
            network = MLP(sizes, self.activation, self.dropout, generator)
        return network if waves is None else nn.Sequential(waves, network)

    def _start(self, fitted: dict[str, Any] | None, seed: int) -> dict[str, nn.Module]:
        """Return networks on the device, with the weights of `fitted` where given."""
        networks = self._build_networks(seed)
        if fitted is not None:
            continue_from(networks, fitted)
        for network in networks.values():
            network.to(self.device_)
        if self._is_foreign:
            self._try_out(networks, seed)
        return networks

    def _try_out(self, networks: dict[str, nn.Module], seed: int) -> None:
        """Check shapes with two rows of zeros before any training."""
        n_features = self.n_features_in_
        widths = {
            "encoder_": (n_features, self._code_width),
            "decoder_": (self.n_components_, n_features),
        }
        with isolated_streams(seed), torch.no_grad():
            for name, network in networks.items():
                n_in, n_out = widths[name]
                out = network.eval()(torch.zeros(2, n_in, device=self.device_))
                if getattr(out, "shape", None) != (2, n_out):
                    raise ValueError(
                        f"{name[:-1]} must map 2 rows to a tensor of shape "
                        f"(2, {n_out}), got {getattr(out, 'shape', out)}."
                    )
            value = self._loss_function()(out, torch.zeros_like(out))
        if not isinstance(value, Tensor) or value.ndim:
            raise ValueError(
                "loss must return a tensor without dimensions, the mean over the "
                f"batch, got {value!r}."
            )

    def _loss_function(self) -> Loss:
        if not isinstance(self.loss, str):
            return self.loss
        if self.loss == "ssim":
            return partial(structural_dissimilarity, image_shape=self.image_shape_)
        return RECONSTRUCTION[self.loss]

    def _new_optimizer(self, networks: dict[str, nn.Module]) -> torch.optim.Optimizer:
        parameters = [p for m in networks.values() for p in m.parameters()]
        return make_optimizer(
            self.optimizer, parameters, self.learning_rate, self.weight_decay
        )

    def _units_on_device(self) -> Callable[[Tensor], Tensor]:
        shift = torch.tensor(self.shift_, dtype=torch.float32, device=self.device_)
        scale = torch.tensor(self.scale_, dtype=torch.float32, device=self.device_)
        return lambda x: (x.float() - shift) / scale

    def _decoded_to_data(self) -> Callable[[Tensor], Tensor]:
        """Return what takes the decoder's output to units of the data, with slopes."""
        exact = torch.float32 if self.device_ == "mps" else torch.float64
        shift, scale = (
            torch.tensor(part, dtype=exact, device=self.device_)
            for part in (self.shift_, self.scale_)
        )
        logits = self._trained_as[0] == "bce"

        def to_data(out: Tensor) -> Tensor:
            units = torch.sigmoid(out) if logits else out
            return units.to(exact) * scale + shift

        return to_data

    def _augment_on_device(self) -> Augment | None:
        """Return what changes rows, in units of the networks, as images; or None.

        Values stay in the range of the training rows, 0 to 255 for uint8.
        """
        strengths = check_augment(getattr(self, "augment", None))
        if not any(strengths.values()):
            return None
        low, high = self._value_range
        span, shape = (high - low) or 1.0, self.image_shape_
        zero, unit = (
            torch.tensor(value, dtype=torch.float32, device=self.device_)
            for value in ((low - self.shift_) / self.scale_, span / self.scale_)
        )

        def change(rows: Tensor, generator: torch.Generator) -> Tensor:
            pixels = ((rows - zero) / unit).reshape(-1, *shape)
            changed = augment(pixels, strengths, generator).clamp(0.0, 1.0)
            return changed.flatten(1) * unit + zero

        return change

    def _on_device(self, rows: NDArray[Any]) -> Tensor:
        if self._is_uint8:
            # floats in 0..255 keep their fractions: the networks see the same units
            dtype = torch.uint8 if rows.dtype == np.uint8 else torch.float32
            return torch.tensor(rows, dtype=dtype, device=self.device_)
        units = standardize(rows, self.shift_, self.scale_)
        return torch.from_numpy(units).to(self.device_)

    def _encode(self, X: NDArray[Any]) -> NDArray[np.float32]:
        with isolated_streams(0) if self._is_foreign else nullcontext():
            Z = map_rows(
                self.encoder_,
                X,
                self.device_,
                lambda part: standardize(part, self.shift_, self.scale_),
                alone=self._is_foreign,
            )
        return self._from_encoder(Z)

    def _decode(self, Z: NDArray[Any]) -> NDArray[np.float64]:
        Z = self._to_decoder(Z)
        with isolated_streams(0) if self._is_foreign else nullcontext():
            rows = map_rows(
                self._decode_tensor,
                Z,
                self.device_,
                lambda part: part.astype("f4"),
                alone=self._is_foreign,
            )
        X = unstandardize(rows, self.shift_, self.scale_)
        return np.clip(X, 0.0, 255.0) if self._is_uint8 else X

    def _decode_tensor(self, z: Tensor) -> Tensor:
        out = self.decoder_(z)
        return torch.sigmoid(out) if self._trained_as[0] == "bce" else out

    def _from_encoder(self, Z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return latents as `transform` shows them."""
        if self._latent_shift is None:
            return Z
        return unstandardize(Z, self._latent_shift, self._latent_scale).astype("f4")

    def _to_decoder(self, Z: NDArray[Any]) -> NDArray[Any]:
        """Return latents as the decoder takes them."""
        if self._latent_shift is None:
            return Z
        return standardize(Z, self._latent_shift, self._latent_scale)
