"""What a decoder that makes rows for features is, apart from what it promises."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import Tensor, nn

from .._arrays import (
    column_moments,
    image_shape_of,
    refuse_channels_last,
    standardize,
    warn_of_coarse_columns,
)
from .._conditional import ConditionalMixin
from .._random import row_streams, torch_generator
from .._validation import check_choice, check_int, check_real, check_sizes
from ..base import BaseTorchEstimator, continue_from, seeded_clone
from ..constraints import (
    ConstrainedMixin,
    MahalanobisConstraint,
    check_constraint,
    fit_constraint,
)
from ..constraints._features import needs_labels
from ..constraints._held import FINGERPRINT_ROWS
from ..constraints._mahalanobis import LEAST_ROWS
from ..exceptions import ConstraintWarning
from ..manifold._parts import check_unit_range
from ..nn import ACTIVATIONS, MLP, ConvDecoder, map_rows
from ..nn.likelihoods import BernoulliLikelihood, GaussianLikelihood
from ..training import OPTIMIZERS, History, make_optimizer
from ._feature_law import FeatureLaw, default_features, given_features
from ._mahalanobis_program import (
    LAW_GAP,
    N_PROBES,
    FeatureEncoder,
    MahalanobisProgram,
    log_weight,
)
from ._mixture import LatentMixture

_LAW_DRAWS = 8192  # that training takes features from, at least
_MOST_LAW_DRAWS = 65_536
_DECODED = 8192  # rows that are decoded at a time
_RANGE_CHOICE = ("likelihood='bernoulli'", "likelihood='gaussian'")


class FeatureDecoder(ConstrainedMixin, ConditionalMixin, BaseTorchEstimator):
    """Networks that make rows for features, their units, and how they are trained.

    `fit` and `sample` are those of the class that has the parameters.
    """

    _networks = ("encoder_", "decoder_", "likelihood_", "feature_likelihood_")
    encoder_: nn.Module
    decoder_: nn.Module
    likelihood_: nn.Module
    feature_likelihood_: nn.Module
    feature_law_: Any
    mean_: NDArray[np.float64]
    _radii: tuple[NDArray[np.float64], NDArray[np.float64]] | None

    n_components: int
    features: Any
    feature_law: Any
    feature_weight: float
    likelihood: str
    beta: float
    free_bits: float
    kl_warmup_epochs: int
    average_decay: float
    architecture: str
    hidden_sizes: Sequence[int]
    channels: Sequence[int]
    activation: str
    image_shape: tuple[int, int, int] | None
    dropout: float
    weight_decay: float
    optimizer: str
    learning_rate: float
    precision: str
    max_epochs: int

    # ----------------------------------------------------------------- decoding

    def _rows_for(
        self, given: NDArray[np.float64], rng: np.random.RandomState
    ) -> NDArray[np.float32]:
        """Return rows, in units of the data, made for features."""
        Z = rng.standard_normal((len(given), self._n_latent))
        inputs = np.hstack([Z, self._standard_features(given)]).astype(np.float32)
        to_data = self._to_data()

        def decode(part: Tensor) -> Tensor:
            return to_data(self.decoder_(part))

        return map_rows(decode, inputs, self.device_).astype(np.float32)

    def _to_data(self) -> Callable[[Tensor], Tensor]:
        """Return what makes rows in units of the data of what the decoder returns.

        With slopes, and with what it needs on the device once.
        """
        wide = torch.float32 if torch.device(self.device_).type == "mps" else None
        shift, scale, mean = (
            torch.tensor(it, dtype=wide or torch.float64, device=self.device_)
            for it in (self.shift_, self.scale_, self.mean_)
        )
        constant = torch.from_numpy(self._is_constant).to(self.device_)
        is_bernoulli, is_uint8 = self.likelihood == "bernoulli", self._is_uint8

        def to_data(output: Tensor) -> Tensor:
            rows = output.sigmoid() if is_bernoulli else output
            rows = rows.to(shift.dtype) * scale + shift
            if is_uint8:
                rows = rows.clamp(0.0, 255.0)
            return torch.where(constant, mean, rows)

        return to_data

    # ---------------------------------------------------------- features and law

    def _given(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return given_features(self.constraint_.features_, rows, self.device_)

    def _standard_features(self, given: NDArray[np.float64]) -> NDArray[np.float32]:
        return standardize(given, self.feature_mean_, self.feature_scale_)

    def _distances(
        self, given: NDArray[np.float64], codes: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        return self._law.distances(given, codes)

    def _draw_features(
        self,
        n_samples: int,
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float64]:
        return self._law.draw(n_samples, codes, rng)

    @property
    def _law(self) -> FeatureLaw:
        classes = getattr(self, "classes_", None)
        return FeatureLaw(self.feature_law_, self.constraint_, classes, self._radii)

    def _learn_features(
        self,
        rows: NDArray[Any],
        labels: NDArray[Any] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.float64]:
        """Fit features and constraint, and return the features of the rows."""
        measured, y = rows, labels
        if self._is_constant.all():  # a distance needs a spread, of whatever size
            noise = rng.standard_normal(rows.shape)
            measured = rows + noise * np.maximum(np.abs(self.mean_), 1.0)
        if len(rows) < LEAST_ROWS:  # the same moments
            measured = np.tile(measured, (LEAST_ROWS, 1))
            y = None if labels is None else np.tile(labels, LEAST_ROWS)
        constraint = self.constraint
        if constraint is None:
            constraint = MahalanobisConstraint(two_sided=True)
        shown = self.image_shape is not None or self._shape_in is not None
        self.constraint_ = fit_constraint(
            clone(constraint).set_params(
                features=self._features_for(constraint, measured)
            ),
            measured,
            y,
            rng,
            shape=self.image_shape_ if shown else None,
            labelled=bool(self.conditional),
        )
        given = self._given(rows)
        self.feature_mean_, self.feature_scale_ = column_moments(given)
        return given

    def _features_for(
        self, constraint: MahalanobisConstraint, rows: NDArray[Any]
    ) -> Any:
        """Return unfitted features, or frozen ones."""
        if self.features is not None:
            return self.features
        if constraint.features is not None:
            return constraint.features
        return default_features(constraint, rows)

    def _learn_law(
        self,
        given: NDArray[np.float64],
        codes: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> None:
        """Fit the law of features on those within epsilon."""
        generator = self.feature_law
        if generator is None:
            generator = LatentMixture(conditional=bool(self.conditional))
        self.feature_law_, self._radii = seeded_clone(generator, rng), None
        law = self._law
        distances = law.fit(given, codes)
        if law.is_held:
            drawn = self._codes_for(_LAW_DRAWS, None, rng)
            law.match(distances, _LAW_DRAWS, drawn, rng)
        self.feature_law_, self._radii = law.generator, law.radii

    # ---------------------------------------------------------------- training

    @property
    def _needs_labels(self) -> bool:
        features = self.features
        if self.constraint is not None:
            if self.constraint.class_conditional:
                return True
            features = features or self.constraint.features
        return bool(self.conditional) or needs_labels(features)

    def _parts_seen(
        self, rows: NDArray[Any], labels: NDArray[Any] | None
    ) -> dict[str, Any]:
        """Return what a fit depends on, besides rows and parameters as they show."""
        features = self.features
        if features is None and self.constraint is not None:
            features = self.constraint.features
        seen = None
        if isinstance(features, FrozenEstimator):
            seen = np.asarray(features.transform(rows[:FINGERPRINT_ROWS]))
        return {"labels": labels, "features": seen}

    def _check_parameters(self, rows: NDArray[Any]) -> None:
        check_int("n_components", self.n_components)
        self._check_parts()
        check_choice("likelihood", self.likelihood, ("gaussian", "bernoulli"))
        for name in ("feature_weight", "beta", "free_bits", "weight_decay"):
            check_real(name, getattr(self, name), 0.0)
        check_int("kl_warmup_epochs", self.kl_warmup_epochs, 0)
        for name in ("average_decay", "dropout"):
            check_real(name, getattr(self, name), 0.0, 1.0, closed="left")
        check_choice("architecture", self.architecture, ("mlp", "conv"))
        check_sizes("hidden_sizes", self.hidden_sizes)
        check_sizes("channels", self.channels)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("precision", self.precision, ("float32", "bf16"))
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_int("max_epochs", self.max_epochs)
        self._check_training()
        self._shape_of_rows()
        self._check_range(rows)

    def _check_parts(self) -> None:
        """Check the estimators that are parameters."""
        check_constraint(self.constraint)
        held = self.constraint
        if held is not None and None not in (held.features, self.features):
            raise ValueError(
                "features must be given once, here or in constraint, got "
                f"{self.features!r} and {held.features!r}. Set features=None in one of "
                "them: rows are made for the features that they are measured by."
            )
        for method in ("fit", "sample"):
            law = self.feature_law
            if law is not None and not hasattr(law, method):
                raise TypeError(
                    "feature_law must be None or an estimator with fit and sample, got "
                    f"{law!r}, which has no {method}."
                )
        if self.feature_law is not None and self.conditional:
            if "y" not in inspect.signature(self.feature_law.sample).parameters:
                raise ValueError(
                    "feature_law must draw by label where conditional=True, got "
                    f"{self.feature_law!r}. Pass LatentMixture(conditional=True) or "
                    "the like."
                )

    def _check_range(self, rows: NDArray[Any]) -> None:
        if self.likelihood == "bernoulli":
            top = 255.0 if getattr(self, "_is_uint8", False) else 1.0
            check_unit_range("X", rows, top, *_RANGE_CHOICE)

    def _shape_of_rows(self) -> tuple[int, int, int]:
        if self.architecture == "conv":
            refuse_channels_last(self.image_shape, self._shape_in)
        return image_shape_of(self.image_shape, self._shape_in, self.n_features_in_)

    def _set_units(self, rows: NDArray[Any]) -> None:
        self.image_shape_ = self._shape_of_rows()
        self.mean_, std = column_moments(rows)
        warn_of_coarse_columns(type(self).__name__, self.mean_, std)
        self._is_uint8 = rows.dtype == np.uint8
        self._is_constant = rows.min(axis=0) == rows.max(axis=0)
        self._n_latent = int(self.n_components)
        if self.likelihood == "bernoulli":
            self.shift_ = np.zeros_like(self.mean_)
            scale = 255.0 if self._is_uint8 else 1.0
        else:
            self.shift_ = self.mean_
            scale = float(np.sqrt(np.square(std).mean())) or 1.0
        self.scale_ = np.full_like(self.mean_, scale)

    def _start(self, fitted: dict[str, Any] | None, seed: int) -> dict[str, nn.Module]:
        if fitted is not None and len(self.mean_) != self.n_features_in_:
            raise ValueError(
                "Training on from fitted weights needs networks of the same shapes, "
                f"for rows of {len(self.mean_)} features, got {self.n_features_in_}. "
                "Fit with warm_start=False."
            )
        networks = self._build_networks(seed)
        if fitted is not None:
            continue_from(networks, fitted)
        return {name: module.to(self.device_) for name, module in networks.items()}

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        source, n_given = torch_generator(seed), len(self.feature_mean_)
        conv, n_in = self.architecture == "conv", self.n_components + n_given
        rest = self.activation, self.dropout, source
        encoder = FeatureEncoder(
            self.image_shape_,
            n_given,
            2 * self.n_components,
            tuple(self.channels) if conv else None,
            tuple(self.hidden_sizes),
            *rest,
        )
        decoder: nn.Module
        if conv:
            shape = self.image_shape_
            decoder = ConvDecoder(shape, n_in, self.channels, self.hidden_sizes, *rest)
        else:
            sizes = (n_in, *reversed(self.hidden_sizes), self.n_features_in_)
            decoder = MLP(sizes, *rest)
        gaussian = self.likelihood == "gaussian"
        return {
            "encoder_": encoder,
            "decoder_": decoder,
            "likelihood_": GaussianLikelihood() if gaussian else BernoulliLikelihood(),
            "feature_likelihood_": GaussianLikelihood(),
        }

    def _on_device(self, rows: NDArray[Any]) -> list[Tensor]:
        """Return rows, bytes as they are, and their features as networks see them."""
        if not len(rows):
            return []
        given = torch.from_numpy(self._standard_features(self._given(rows)))
        if rows.dtype == np.uint8:
            x = torch.tensor(rows)  # a copy, since rows may be read-only
        else:
            x = torch.from_numpy(standardize(rows, self.shift_, self.scale_))
        return [x.to(self.device_), given.to(self.device_)]

    def _to_units(self) -> Callable[[Tensor], Tensor] | None:
        """Return what maps rows on the device to units of the networks."""
        if not self._is_uint8:
            return None
        shift, scale = (
            torch.tensor(it, dtype=torch.float32, device=self.device_)
            for it in (self.shift_, self.scale_)
        )

        def to_units(x: Tensor) -> Tensor:
            return x if x.is_floating_point() else (x.float() - shift) / scale

        return to_units

    def _program(
        self,
        networks: dict[str, nn.Module],
        n_rows: int,
        done: int,
        rng: np.random.RandomState,
    ) -> MahalanobisProgram:
        # the program has the features of what it makes at hand
        held = self.constraint_.hold(self.device_, features=nn.Identity())
        to_features = self.constraint_._feature_network(self.device_)
        to_data = self._to_data()
        n_draws = N_PROBES + min(max(n_rows, _LAW_DRAWS), _MOST_LAW_DRAWS)
        codes = self._codes_for(n_draws, None, rng)
        asked = self._draw_features(n_draws, codes, rng)
        at = self._law.locations_of(codes)
        given = np.float32 if self.device_.startswith("mps") else np.float64
        law, asked_for = (
            torch.from_numpy(it).to(self.device_)
            for it in (self._standard_features(asked), asked.astype(given))
        )
        parameters = [p for m in networks.values() for p in m.parameters()]
        batches = -(-n_rows // self.batch_size)
        return MahalanobisProgram(
            networks,
            make_optimizer(
                self.optimizer, parameters, self.learning_rate, self.weight_decay
            ),
            held,
            features=lambda output: to_features(to_data(output)),
            law=law,
            asked=asked_for,
            codes=None if at is None else torch.from_numpy(at).to(self.device_),
            n_components=self._n_latent,
            beta=self.beta,
            free_bits=self.free_bits,
            feature_weight=self.feature_weight,
            average_decay=self.average_decay,
            warmup_steps=self.kl_warmup_epochs * batches,
            n_steps=done * batches,
            prepare=self._to_units(),
            half=self.precision == "bf16",
        )

    def _finish(self, program: MahalanobisProgram) -> None:
        for name, network in program.final.items():
            setattr(self, name, network)
        self._keep_multiplier(program.held)
        self.__dict__.pop("noise_variance_", None)
        if isinstance(self.likelihood_, GaussianLikelihood):
            scale = float(self.scale_[0])
            self.noise_variance_ = float(self.likelihood_.variance) * scale**2
        assert isinstance(self.feature_likelihood_, GaussianLikelihood)
        self.feature_variance_ = float(self.feature_likelihood_.variance)

    def _warn_unreached(self, history: History) -> None:
        """Warn where no epoch kept the constraint, or none the law of distances."""
        if "validation_infeasibility" not in history:
            return
        best = int(np.argmin(history["validation_infeasibility"]))
        beyond, tolerance = history["validation_violation"], self.constraint_.tolerance_
        gap = 0.0
        if "validation_law_gap" in history:
            gap = history["validation_law_gap"][best]
        if "validation_law_gap" not in history or beyond.min() > tolerance:
            self._warn_infeasible(history, N_PROBES)
            return
        error = np.sqrt(tolerance * (1.0 - tolerance) / N_PROBES)
        if gap <= LAW_GAP and beyond[best] <= tolerance + max(0.005, 2.0 * error):
            return
        warnings.warn(
            "No epoch kept both epsilon and the law of distances within it. In the one "
            f"that came nearest {beyond[best]:.3g} of the rows that were made are "
            f"farther, where {tolerance:.3g} may be, and the distribution functions of "
            f"distances are {gap:.2g} apart, where {LAW_GAP:g} is near. Raise "
            "max_epochs, or the step of the constraint, or set its two_sided=False.",
            ConstraintWarning,
            stacklevel=3,
        )

    # -------------------------------------------------------------- likelihood

    def _log_weights(
        self, rows: NDArray[Any], n_samples: int, seed: int
    ) -> Iterator[NDArray[np.float64]]:
        """Yield log p(x, z | f) - log q(z | x, f) of some rows, (some, n_samples)."""
        k, n_given = self._n_latent, len(self.feature_mean_)
        some, shape = max(1, _DECODED // n_samples), (n_samples, k)

        def weigh(block: Tensor) -> Tensor:
            parts = block.split([k, 2 * k, self.n_features_in_, n_given], dim=1)
            return log_weight(self.decoder_, self.likelihood_, *parts).unsqueeze(1)

        for start in range(0, len(rows), some):
            part = rows[start : start + some]
            noise = [it.standard_normal(shape) for it in row_streams(part, seed)]
            x = standardize(part, self.shift_, self.scale_)
            both = np.hstack([x, self._standard_features(self._given(part))])
            code = map_rows(self.encoder_, both, self.device_)
            repeated = np.repeat(np.hstack([code, both]), n_samples, axis=0)
            inputs = np.hstack([np.concatenate(noise), repeated]).astype(np.float32)
            found = map_rows(weigh, inputs, self.device_)
            yield found.astype(np.float64).reshape(-1, n_samples)
