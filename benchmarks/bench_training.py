"""Training throughput: the engine against a bare loop, a DataLoader, skorch, pythae.

Everybody trains the same autoencoder with Adam, the same batch and the same rows, on
MNIST (784-512-256-32, batch 256) and on the bundled digits (64-64-32-8, batch 64). The
loops have the fused Adam that the engine has; skorch and pythae run as they come, and
once more with it.
"""

import argparse
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from _timing import alternate, speed_against, write
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn import functional as F

from manifoldgen import AutoencoderManifold
from manifoldgen.datasets import load_mnist
from manifoldgen.manifold import AutoencoderProgram
from manifoldgen.nn import MLP
from manifoldgen.nn.losses import mean_squared_error
from manifoldgen.training import RowSampler, make_optimizer, run

Sizes = tuple[int, ...]


def network(sizes: Sizes) -> nn.Sequential:
    """Return a perceptron with ReLUs between its layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """Encoder and mirrored decoder."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.encoder, self.decoder = network(sizes), network(sizes[::-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of rows."""
        return self.decoder(self.encoder(x))


def bare_loop(X: np.ndarray, sizes: Sizes, batch: int, epochs: int) -> None:
    """What a practised user writes by hand."""
    data = torch.from_numpy(X)
    net = Autoencoder(sizes)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        for index in torch.randperm(len(data)).split(batch):
            x = data[index]
            optimizer.zero_grad(set_to_none=True)
            loss = F.mse_loss(net(x), x)
            loss.backward()
            optimizer.step()


def loader_loop(X: np.ndarray, sizes: Sizes, batch: int, epochs: int) -> None:
    """The same with a DataLoader, as the tutorials do."""
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.from_numpy(X))
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    net = Autoencoder(sizes)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        for (x,) in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = F.mse_loss(net(x), x)
            loss.backward()
            optimizer.step()


def engine(X: np.ndarray, sizes: Sizes, batch: int, epochs: int) -> None:
    """`manifoldgen.training.run` on a ready program: what the bare loop does."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = MLP(sizes, generator=generator), MLP(sizes[::-1])
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = make_optimizer("adam", parameters, 1e-3)
    program = AutoencoderProgram(encoder, decoder, optimizer, mean_squared_error)
    data = torch.from_numpy(X)
    sampler = RowSampler(len(data), batch)
    run(program, [data], sampler, generator, max_epochs=epochs)


def estimator(X: np.ndarray, sizes: Sizes, batch: int, epochs: int) -> None:
    """The whole of ``AutoencoderManifold.fit``, from its rows to its warnings."""
    AutoencoderManifold(
        sizes[-1],
        hidden_sizes=sizes[1:-1],
        activation="relu",
        learning_rate=1e-3,
        batch_size=batch,
        max_epochs=epochs,
        validation_fraction=0.0,
        device="cpu",
        random_state=0,
    ).fit(X)


def skorch(
    X: np.ndarray, sizes: Sizes, batch: int, epochs: int, **options: bool
) -> None:
    """Skorch, its log off, with the Adam of its documentation."""
    from skorch import NeuralNetRegressor

    NeuralNetRegressor(
        Autoencoder,
        module__sizes=sizes,
        criterion=nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=batch,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=True,
        callbacks__print_log=None,
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        verbose=0,
        **{f"optimizer__{name}": value for name, value in options.items()},
    ).fit(X, X)


def pythae(
    X: np.ndarray, sizes: Sizes, batch: int, epochs: int, **options: bool
) -> None:
    """Pythae's AE and BaseTrainer, with its default optimizer."""
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(sizes)

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.net(x))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(sizes[::-1])

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z))

    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            learning_rate=1e-3,
            per_device_train_batch_size=batch,
            optimizer_cls="Adam",
            optimizer_params=options,
            steps_saving=None,
            no_cuda=True,
        )
        settings = AEConfig(input_dim=(sizes[0],), latent_dim=sizes[-1])
        model = AE(settings, encoder=Encoder(), decoder=Decoder())
        with open(os.devnull, "w") as silence, redirect_stderr(silence):
            TrainingPipeline(training_config=config, model=model)(train_data=X)


Contestant = Callable[..., None]
CONTESTANTS: dict[str, Contestant] = {
    "engine": engine,
    "AutoencoderManifold": estimator,
    "bare loop": bare_loop,
    "DataLoader loop": loader_loop,
    "skorch": skorch,
    "skorch, fused Adam": partial(skorch, fused=True),
    "pythae": pythae,
    "pythae, fused Adam": partial(pythae, fused=True),
}


def compare(
    name: str, X: np.ndarray, sizes: Sizes, batch: int, epochs: int, rounds: int
) -> dict[str, object]:
    """Time everybody in turn; print how many times faster ours is than each peer.

    The engine is held to the loops, which start from ready tensors as it does, and the
    estimator to the estimators.
    """
    runs = {
        who: lambda train=train: train(X, sizes, batch, epochs)
        for who, train in CONTESTANTS.items()
    }
    seconds = alternate(runs, rounds)
    rows = len(X) * epochs
    print(f"\n{name}: {'-'.join(map(str, sizes))}, batch {batch}, {rounds} rounds")
    print(f"{'':20}{'rows/s (median)':>16}   ours is faster: lower quartile, median")
    found = {}
    for who, times in seconds.items():
        ours = "engine" if "loop" in who else "AutoencoderManifold"
        speed = speed_against(seconds[ours], times)
        found[who] = {
            "rows_per_second": rows / float(np.median(times)),
            "against": ours,
            **speed,
        }
        print(
            f"{who:20}{rows / np.median(times):16,.0f}   "
            f"{speed['lower']:.2f}, {speed['median']:.2f} ({ours})"
        )
    return found


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", ConvergenceWarning)  # speed is all that counts
    torch.manual_seed(0)
    digits = (load_digits().data / 16).astype(np.float32)
    mnist = load_mnist(options.data)[0][:20_000].reshape(20_000, -1)
    mnist = (mnist / 255).astype(np.float32)
    write(
        "training",
        {
            "digits": compare(
                "digits", digits, (64, 64, 32, 8), 64, 20, options.rounds
            ),
            "mnist": compare(
                "MNIST, 20,000 rows", mnist, (784, 512, 256, 32), 256, 2, options.rounds
            ),
        },
    )


if __name__ == "__main__":
    main()
