"""Models and samplers of pythae 0.1.2, trained for seconds and not for epochs.

Adam at 1e-3 and batches of 100, as in pythae's own example for MNIST. Its trainer has
no stop: a callback raises when the time is over, in the middle of an epoch too, and the
weights are those of that moment. The sampler with a flow trains one by the same
trainer, on the latents that pythae's own sampler computes.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Rows = NDArray[np.float32]
MODELS = ("AE", "VAE", "RAE_L2", "WAE_MMD")
SAMPLERS = ("Normal", "GMM", "MAF")
BATCH = 100
FOREVER = 10_000  # epochs


class TimeIsUpError(Exception):
    """Raised inside pythae's trainer, which goes on to the last epoch otherwise."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Silence the logging and the progress bars of pythae."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w") as silence,
            contextlib.redirect_stderr(silence),
            contextlib.redirect_stdout(silence),
        ):
            yield
    finally:
        logging.disable(before)


def new(
    kind: str,
    shape: tuple[int, ...],
    latent_dim: int,
    nets: str,
    seed: int,
    **settings: Any,
) -> Any:
    """Return a new model: its default perceptrons, or its convolutions for MNIST.

    `settings` are of its configuration, such as ``reconstruction_loss="bce"``.
    """
    torch.manual_seed(seed)
    from pythae import models
    from pythae.models.nn.benchmarks import mnist

    config = getattr(models, f"{kind}_Config" if "_" in kind else f"{kind}Config")(
        input_dim=shape, latent_dim=latent_dim, **settings
    )
    networks: dict[str, Any] = {}
    if nets == "conv":
        variant = "VAE" if kind == "VAE" else "AE"
        networks["encoder"] = getattr(mnist, f"Encoder_Conv_{variant}_MNIST")(config)
        networks["decoder"] = mnist.Decoder_Conv_AE_MNIST(config)
    return getattr(models, kind)(config, **networks)


def train(
    model: Any,
    X: Rows,
    seconds: float,
    seed: int,
    copy_after: float | None = None,
) -> Any:
    """Train a model in place for some seconds; return a copy from before the end.

    The copy is of the weights after `copy_after` seconds: a model that leaves time for
    its sampler. None makes none.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    start = time.perf_counter()
    copies: list[Any] = []

    class Clock(TrainingCallback):
        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            passed = time.perf_counter() - start
            if copy_after is not None and not copies and passed > copy_after:
                copies.append(deepcopy(model))
            if passed > seconds:
                raise TimeIsUpError

    with silenced(), tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=FOREVER,
            learning_rate=1e-3,
            per_device_train_batch_size=BATCH,
            keep_best_on_train=True,
            no_cuda=True,
            seed=seed,
        )
        rows = _shaped(model, X)
        data = BaseDataset(rows, torch.zeros(len(rows)))
        trainer = BaseTrainer(model, data, training_config=config, callbacks=[Clock()])
        with contextlib.suppress(TimeIsUpError):
            trainer.train()
    model.eval()
    return copies[0].eval() if copies else None


def fit_sampler(
    kind: str, model: Any, X: Rows, seconds: float, seed: int
) -> Callable[[int, int], Rows]:
    """Return ``draw(n, seed)``; `seconds` bound the training of a flow alone."""
    from pythae import samplers

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- its mixture draws from the global generator
    rows = _shaped(model, X)
    sampler: Any
    if kind == "Normal":
        sampler = samplers.NormalSampler(model)
    elif kind == "GMM":
        sampler = samplers.GaussianMixtureSampler(model)
        sampler.fit(rows)
    else:
        start = time.perf_counter()
        sampler = samplers.MAFSampler(model)
        latents = _latents(model, rows)
        left = seconds - (time.perf_counter() - start)
        train(sampler.flow_contained_model, latents, left, seed)
        sampler.maf_model = sampler.flow_contained_model.flow.eval()
        sampler.is_fitted = True
    return lambda n, seed: _draw(sampler, n, seed)


@torch.no_grad()
def reconstruct(model: Any, X: Rows) -> Rows:
    """Return what the model makes of rows, from the mean of their latents."""
    rows = _shaped(model, X)
    found = [model.decoder(model.encoder(b).embedding) for b in rows.split(500)]
    return torch.cat([it.reconstruction for it in found]).numpy().reshape(len(X), -1)


@torch.no_grad()
def _latents(model: Any, rows: torch.Tensor) -> Rows:
    """Return the latents that its samplers are fitted on: drawn ones of a VAE."""
    found = [model({"data": batch}).z for batch in rows.split(500)]
    return torch.cat(found).numpy()


@torch.no_grad()
def _draw(sampler: Any, n: int, seed: int) -> Rows:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    return sampler.sample(n).numpy().reshape(n, -1)


def _shaped(model: Any, X: Rows) -> torch.Tensor:
    return torch.from_numpy(X.reshape(-1, *model.model_config.input_dim))
