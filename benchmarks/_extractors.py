"""Feature extractors of the benchmarks of generators: three small classifiers of MNIST.

Each is trained on 10,000 images that no generator is fitted on and no figure is taken
of, so that it favours no contestant; its penultimate layer, 128 wide, is the space in
which generated and real images are compared. What the three seeds disagree in is noise
of the measure. `python benchmarks/_extractors.py` trains what is missing, a minute or
two a seed on one core, and prints the accuracy on the test images.

The layers pool by the mean, and nothing is normalised: a maximum over a patch follows
the contrast of strokes before their shape. With maxima and batch normalisation, the
first choice here, real images were at a Fréchet distance of 5 and the reconstructions
of any autoencoder at 200 to 400, most of it a mean that moved with the contrast.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from manifoldgen.datasets import load_mnist

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
CACHE = Path(__file__).parent / "cache"
SEEDS = (0, 1, 2)
N_GENERATOR, N_EXTRACTOR, N_TUNING = 40_000, 10_000, 10_000
RECIPE = {
    "channels": (32, 64),
    "width": 128,
    "pool": "mean",
    "epochs": 14,
    "batch_size": 125,
    "peak_learning_rate": 3e-3,
    "degrees": 12.0,
    "pixels": 2.0,
    "scale": 0.12,
}
LEAST_ACCURACY = 0.985


class Splits(NamedTuple):
    """MNIST as float32 rows in [0, 1]: three parts of the training images, and test."""

    X: Rows  # what generators learn from
    y: Labels
    X_extractor: Rows
    y_extractor: Labels
    X_tuning: Rows
    y_tuning: Labels
    X_test: Rows
    y_test: Labels


def mnist_splits(data: str | None = None) -> Splits:
    """Return 40,000 rows for generators, and 10,000 each for all the rest."""
    split = load_mnist(data)
    parts: list[Any] = []
    start = 0
    for n in (N_GENERATOR, N_EXTRACTOR, N_TUNING):
        part = slice(start, start + n)
        parts += [_unit(split.X_train[part]), split.y_train[part].astype(np.int64)]
        start += n
    return Splits(*parts, _unit(split.X_test), split.y_test.astype(np.int64))


class Classifier(nn.Module):
    """Two convolutions, a hidden layer whose output is the features, and logits.

    No dropout: 10,000 images suffice with what `moved` does to them.
    """

    def __init__(self, channels: tuple[int, int], width: int) -> None:
        super().__init__()
        first, second = channels
        self.body = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(second * 49, width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.body(images))


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images turned, shifted and scaled, each by a little of its own."""
    n = len(images)
    angle, scale, *shift = (
        2 * torch.rand(4, n, generator=generator) - 1
    ) * torch.tensor(
        [
            [np.radians(RECIPE["degrees"])],
            [RECIPE["scale"]],
            [RECIPE["pixels"] / 14],  # affine_grid takes half of the image for 1
            [RECIPE["pixels"] / 14],
        ]
    ).float()
    cos, sin = angle.cos() * (1 + scale), angle.sin() * (1 + scale)
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train(
    X: Rows,
    y: Labels,
    seed: int,
    epochs: int = RECIPE["epochs"],
    augment: bool = True,
) -> Classifier:
    """Return a classifier of digits in evaluation mode; one seed, one result."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(RECIPE["channels"], RECIPE["width"])
    network = network.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    images, labels = _images(X), torch.from_numpy(y)
    size = RECIPE["batch_size"]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        RECIPE["peak_learning_rate"],
        total_steps=epochs * (len(X) // size),
    )
    for _ in range(epochs):
        order = torch.randperm(len(X), generator=generator)
        for batch in order[: len(X) // size * size].split(size):
            inputs = moved(images[batch], generator) if augment else images[batch]
            logits = network(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


class Extractor:
    """Features and labels of rows of pixels by one trained classifier.

    Pixels are cut to [0, 1] first, for real images nothing and for every generator the
    same: no image has others.
    """

    def __init__(
        self, network: nn.Module, image_shape: tuple[int, int, int] = (1, 28, 28)
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last).eval()
        self.image_shape = image_shape

    def __call__(self, X: Any) -> NDArray[np.float32]:
        """Return (n, width) features of (n, pixels) in [0, 1]: 128 of digits."""
        return np.concatenate(list(self._apply(self.network.body, X)))

    def predict(self, X: Any) -> Labels:
        """Return the digit that each row shows."""
        found = np.concatenate(list(self._apply(self.network, X)))
        return found.argmax(axis=1)

    @torch.no_grad()
    def _apply(self, module: nn.Module, X: Any) -> Iterator[NDArray[np.float32]]:
        pixels = np.clip(np.asarray(X, dtype=np.float32), 0.0, 1.0)
        images = torch.from_numpy(pixels).reshape(-1, *self.image_shape)
        for batch in images.split(500):
            yield module(batch.contiguous(memory_format=torch.channels_last)).numpy()


def extractor(seed: int, splits: Callable[[], Splits] = mnist_splits) -> Extractor:
    """Return the extractor of a seed: from the cache, or trained now and kept there."""

    def trained() -> Classifier:
        rows = splits()
        return train(rows.X_extractor, rows.y_extractor, seed)

    untrained = Classifier(RECIPE["channels"], RECIPE["width"])
    name = f"extractor_{seed}_{recipe_name(RECIPE)}"
    return Extractor(kept(name, untrained, trained))


def kept(name: str, untrained: nn.Module, train: Callable[[], nn.Module]) -> nn.Module:
    """Return the network of a name with the weights of the cache, or trained now."""
    path = CACHE / f"{name}.pt"
    if path.exists():
        untrained.load_state_dict(torch.load(path, weights_only=True))
        return untrained
    network = train()
    CACHE.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(network.state_dict(), part)
    part.replace(path)  # a run that is killed here leaves none
    return network


def accuracy(classifier: Extractor, X: Rows, y: Labels) -> float:
    """Return the share of rows whose digit is named right."""
    return float(np.mean(classifier.predict(X) == y))


def recipe_name(recipe: dict[str, Any]) -> str:
    """Return the settings of a recipe in a row, for the name of a file."""
    return "-".join(
        "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for value in recipe.values()
    )


def _unit(pixels: NDArray[Any]) -> Rows:
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def _images(X: Rows) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(X)).reshape(-1, 1, 28, 28)


def main() -> None:
    """Train what is missing and print accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with mnist.npz")
    options = parser.parse_args()
    splits = mnist_splits(options.data)
    for seed in SEEDS:
        start = time.perf_counter()
        found = extractor(seed, lambda: splits)
        seconds = time.perf_counter() - start
        share = accuracy(found, splits.X_test, splits.y_test)
        print(f"extractor {seed}: test accuracy {share:.4f}, {seconds:.0f} s")
        if share < LEAST_ACCURACY:
            raise SystemExit(f"an extractor must reach {LEAST_ACCURACY}, not {share}")


if __name__ == "__main__":
    main()
