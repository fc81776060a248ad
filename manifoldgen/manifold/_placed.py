"""Manifolds whose training rows have coordinates of their own: t-SNE and UMAP."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._arrays import standardize
from .._random import draw_seed
from .._validation import check_bool, check_choice, check_int
from ..base import (
    pass_on_interrupt,
    resolve_device,
    unchanged_on_error,
    warn_unconverged,
)
from ..neighbors import NeighborIndex, nearest_neighbors
from ..nn import check_augment
from ..nn.losses import infonce_loss
from ..training import EdgeSampler, Outcome
from ._base import BaseManifold
from ._graph import Coordinates, common_scale, unique_rows
from ._parts import check_labels
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

_PLACE_NOISE = 3.0  # in distances between neighbours on the map
_N_NEIGHBORS = 15


class PlacedManifold(BaseManifold):
    """Give training rows coordinates, then learn to place new rows and to go back.

    A subclass computes the coordinates in `_coordinates` and has the parameters that
    `fit` reads.
    """

    _may_be_none = ("max_epochs",)
    _wave_frequency = WAVE_FREQUENCY

    embedding_: NDArray[np.float32]
    isolated_: NDArray[np.bool_]
    _index: Any
    _itself: Any = None
    _index_units: Any
    _placed: Any

    def _coordinates(
        self, rows: NDArray[Any], labels: Any, rng: np.random.RandomState
    ) -> Coordinates:
        """Return the coordinates of training rows, in float32 or float64."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute the map of `X`, and learn the ways to it and back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
            At least 2 rows.
        y : array-like of shape (n_samples,), default=None
            Classes, -1 where unknown, with ``supervised=True``; else ignored.

        Returns
        -------
        self : estimator
        """
        with unchanged_on_error(self):
            rows = self._validate_rows(X, reset=True, n_min=2)
            self._check_parameters(rows)
            labels = check_labels(y, len(rows)) if self.supervised else None
            self.device_ = str(resolve_device(self.device))
            rng, checkpoint = self._open_run(None, X=rows, y=labels)
            self._set_units(rows)
            values = rows.astype(np.float32) / 255 if self._is_uint8 else rows
            seeds = np.random.RandomState(draw_seed(rng))
            self.embedding_, self.isolated_ = self._coordinates(values, labels, seeds)
            self._set_index(values)
            outcome = self._train(rows, rng, checkpoint)
            warn_unconverged(outcome, "validation_loss")
            self._keep(outcome)
        pass_on_interrupt(outcome)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Fit, and return the coordinates of the training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or images
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), float32
            What `transform` returns: `embedding_` with ``placement="neighbors"``.
        """
        self.fit(X, y)
        if self._placement == "neighbors":
            return self.embedding_.copy()
        return self.transform(X)

    def _check_parameters(self, rows: NDArray[Any]) -> None:
        check_int("n_components", self.n_components)
        check_bool("supervised", self.supervised)
        check_choice("placement", self.placement, ("neighbors", "network"))
        check_int("n_placement_neighbors", self.n_placement_neighbors)
        check_map_parameters(self, rows, False)
        if self.placement == "neighbors" and any(check_augment(self.augment).values()):
            raise ValueError(
                "augment must be None with placement='neighbors', where no network "
                f"sees rows, got {self.augment!r}. Set placement='network', whose "
                "encoder learns from changed images, or augment=None."
            )
        self.n_components_ = int(self.n_components)
        self._placement = self.placement

    def _set_index(self, rows: NDArray[Any]) -> None:
        """Keep the distinct training rows, to look up new ones among them."""
        if self._placement == "network":
            self._index = self._itself = self._index_units = self._placed = None
            return
        shift, scale = common_scale(rows, self.metric)
        units = standardize(rows, shift, scale)
        first, _ = unique_rows(units)
        self._index_units = (shift, scale)
        self._index = NeighborIndex.build(units[first], metric=self.metric)
        # other metrics may call rows equal that differ, or a row apart from itself
        self._itself = None
        if self.metric != "euclidean":
            self._itself = NeighborIndex.build(units[first])
        self._placed = self.embedding_[first]

    def _train(
        self, rows: NDArray[Any], rng: np.random.RandomState, checkpoint: Any
    ) -> Outcome:
        """Train the decoder, and the encoder where it is what places new rows."""
        coordinates = set_map_units(self, self.embedding_)
        kept, out = self._split(len(rows), rng)
        self._landmarks = None
        noises, neighborhood, sampler = {}, None, None
        if self._placement == "network":
            set_landmarks(self, coordinates, rng)
            spacing = spacing_of(rows, self.shift_, self.scale_, rng)
            noises["noise"] = self.noise * spacing
            if self.neighbor_weight and len(kept) > 1:
                seed = draw_seed(rng)
                sampler = self._edges(rows[kept], seed)
                neighborhood = self._neighborhood
        else:  # new rows come between the places of training rows
            gap = spacing_of(coordinates, np.zeros(coordinates.shape[1]), 1.0, rng)
            noises["latent_noise"] = _PLACE_NOISE * gap
        networks = self._start(None, draw_seed(rng))
        places = torch.from_numpy(coordinates).to(self.device_)
        outcome = self._run(
            map_program(
                self,
                networks,
                anchor=anchor_of(self),
                neighborhood=neighborhood,
                **noises,
            ),
            [self._on_device(rows[kept]), places[kept]],
            [self._on_device(rows[out]), places[out]] if len(out) else None,
            rng,
            checkpoint,
            n_epochs_of(self.max_epochs, len(kept), self.batch_size),
            sampler,
        )
        for name in self._networks:
            if name in networks:
                setattr(self, name, networks[name])
            else:  # of a fit with another placement
                self.__dict__.pop(name, None)
        return outcome

    def _edges(self, rows: NDArray[Any], seed: int) -> EdgeSampler:
        """Return batches of rows with one of their nearest neighbours each."""
        k = min(_N_NEIGHBORS, len(rows) - 1)
        graph = nearest_neighbors(rows, k, metric=self.metric, random_state=seed)
        table = torch.from_numpy(graph.indices).to(self.device_)
        return EdgeSampler(table, self.batch_size)

    def _neighborhood(self, heads: Tensor, tails: Tensor) -> Tensor:
        """Return the InfoNCE loss in units of the map: its kernel has a width of 1."""
        return infonce_loss(heads * self._latent_scale, tails * self._latent_scale)

    def _build_networks(self, seed: int) -> dict[str, nn.Module]:
        networks = super()._build_networks(seed)
        if self._placement == "neighbors":
            del networks["encoder_"]
        return networks

    def _encode(self, X: NDArray[Any]) -> NDArray[np.float32]:
        if self._placement == "network":
            return super()._encode(X)
        return self._place(X.astype(np.float32) / 255 if self._is_uint8 else X)

    def _place(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the median place of the nearest training rows, or a row's own."""
        k = min(int(self.n_placement_neighbors), self._index.n_samples)
        units = standardize(rows, *self._index_units)
        found = self._index.query(units, k)
        places = np.median(self._placed[found.indices], axis=1).astype(np.float32)
        if self._itself is not None:
            found = self._itself.query(units, 1)
        known = found.distances[:, 0] == 0
        places[known] = self._placed[found.indices[known, 0]]
        return places
