"""What the benchmarks of maps share: MNIST, options, and the quality of a map."""

import argparse
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from manifoldgen import neighbor_label_accuracy, trustworthiness
from manifoldgen.datasets import load_mnist

N_JUDGED = 5000  # new rows in a trustworthiness, whose value depends on how many
QUICK_ROWS = (2000, 500)


class Images(NamedTuple):
    """MNIST as float32 rows to fit and new ones, with their labels."""

    X: NDArray[np.float32]
    X_new: NDArray[np.float32]
    y: NDArray[np.int64]
    y_new: NDArray[np.int64]


def mnist_pixels(data: str | None, quick: bool) -> Images:
    """Return 60,000 and 10,000 rows of 784 pixels in [0, 1]; fewer to try out."""
    split = load_mnist(data)
    n, n_new = QUICK_ROWS if quick else (len(split.X_train), len(split.X_test))
    X, X_new = (
        rows.astype(np.float32) / 255
        for rows in (split.X_train[:n], split.X_test[:n_new])
    )
    return Images(X, X_new, split.y_train[:n], split.y_test[:n_new])


def mnist_components(data: str | None, quick: bool) -> Images:
    """Return the same on 50 principal components of the rows to fit."""
    images = mnist_pixels(data, quick)
    pca = PCA(50, random_state=0).fit(images.X)
    return images._replace(X=pca.transform(images.X), X_new=pca.transform(images.X_new))


def quality(
    images: Images, Z: NDArray[Any], Z_new: NDArray[Any], n_neighbors: int = 15
) -> dict[str, float]:
    """Return the quality of the places of new rows, and of labels read off the map."""
    judged = slice(N_JUDGED)
    return {
        "trustworthiness": trustworthiness(
            images.X_new[judged], Z_new[judged], n_neighbors=n_neighbors
        ),
        "label_accuracy": neighbor_label_accuracy(
            Z,
            images.y,
            Z_test=Z_new,
            y_test=images.y_new,
            n_neighbors=n_neighbors,
        ),
    }


def options_for(
    description: str | None, contestants: Iterable[str] = (), data: bool = True
) -> argparse.ArgumentParser:
    """Return a parser with the options that these benchmarks have in common."""
    parser = argparse.ArgumentParser(description=description)
    if data:
        parser.add_argument("--data", help="folder with mnist.npz")
    if contestants:
        parser.add_argument(
            "--only",
            nargs="+",
            choices=list(contestants),
            metavar="NAME",
            help="contestants to run (again), the others stay as they are: "
            + ", ".join(map(repr, contestants)),
        )
    parser.add_argument(
        "--quick", action="store_true", help="few rows, to try the script out"
    )
    return parser


def file_name(name: str, quick: bool) -> str:
    """Return where results go: those of a trial never among the real ones."""
    return f"{name}_quick" if quick else name


def rounded(value: float | None, digits: int) -> str | None:
    """Return a number for a table."""
    return None if value is None else f"{value:.{digits}f}"
