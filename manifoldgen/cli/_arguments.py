"""What the user typed, and the data that it names."""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import (
    Rows,
    Split,
    load_array,
    load_digits,
    load_image_folder,
    split_rows,
)

MIN_ROWS = 150
MAX_WIDTH = 32  # of the linear step before the autoencoder
DESCRIPTION = """\
Choose a latent width by cross-validation, fit scaler -> PCA -> autoencoder -> GAN,
generate, reconstruct, find corrupted rows, and measure all of it beside a Gaussian
mixture and real rows. Writes figures (PNG) and report.json. Takes about a minute on
two cores.
"""
EPILOG = """\
examples:
  python -m manifoldgen demo
  python -m manifoldgen demo --data table.csv --labels species --n-components 2 3 4
  python -m manifoldgen demo --data x.npy --labels y.npy --image-shape 1 28 28
  python -m manifoldgen demo --data faces/ --resize 32 32 --out faces_demo
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m manifoldgen",
        description="Learn the manifold that data lie on, and generate from it.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="run the main job on digits, or on data of yours, and draw it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data_arguments(demo)
    _add_run_arguments(demo)
    return parser


def _add_data_arguments(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="a .npy, .npz or .csv file, or a folder of images with one sub-folder a "
        "class (default: the digits that come with scikit-learn)",
    )
    demo.add_argument(
        "--labels",
        metavar="NAME",
        help="column of the .csv or array of the .npz with the labels, or a .npy, .csv "
        "or .txt file with one label a row; they colour the map and condition a GAN",
    )
    demo.add_argument(
        "--image-shape",
        nargs=3,
        type=_count,
        metavar=("C", "H", "W"),
        help="channels, height and width, where rows are flattened images",
    )
    demo.add_argument(
        "--resize",
        nargs=2,
        type=_count,
        metavar=("H", "W"),
        help="height and width to resize a folder of images to",
    )
    demo.add_argument(
        "--max-rows",
        type=_count,
        default=5000,
        metavar="N",
        help="use at most this many rows, drawn at random (default: %(default)s)",
    )


def _add_run_arguments(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    demo.add_argument(
        "--n-components",
        nargs="+",
        type=_count,
        metavar="N",
        help="latent widths to choose from (default: 4 8 16 32, or less where the data "
        "have fewer features)",
    )
    demo.add_argument(
        "--choose-by",
        choices=("coverage", "energy"),
        default="energy",
        help="score that chooses the width: share of held-out rows that samples reach, "
        "or minus the energy distance to them (default: %(default)s)",
    )
    demo.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="default: %(default)s"
    )
    demo.add_argument(
        "--n-jobs",
        type=_count,
        metavar="N",
        help="processes of the search (default: one a core)",
    )
    demo.add_argument(
        "--device",
        default="cpu",
        metavar="NAME",
        help="cpu, cuda, mps or auto (default: %(default)s, fastest for small data)",
    )
    demo.add_argument(
        "--quick",
        action="store_true",
        help="train for a few epochs only: to see that all works, not how well",
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be an int >= 1, got {text}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be in [0, 2**32), got {text}")
    return number


def read_split(args: argparse.Namespace) -> Split:
    """Return the rows that the arguments name: learning, and a third held out."""
    rows = _read_rows(args)
    with np.errstate(over="ignore"):
        X = np.asarray(rows.X, dtype=np.float32)
    if not np.isfinite(X).all():
        bad = int((~np.isfinite(X)).any(axis=1).sum())
        raise ValueError(
            f"{args.data}: {bad} of {len(X)} rows hold NaN or infinity (as float32); "
            f"leave them out or fill them in."
        )
    rows = _some_rows(rows._replace(X=X), args.max_rows, args.seed)
    if len(rows.X) < MIN_ROWS:
        raise ValueError(
            f"{args.data}: {MIN_ROWS} different rows are needed for three folds and a "
            f"held-out third, got {len(rows.X)}."
        )
    return split_rows(rows, test_size=1 / 3, random_state=args.seed)


def _read_rows(args: argparse.Namespace) -> Rows:
    folder = args.data is not None and args.data.is_dir()
    if args.resize is not None and not folder:
        raise ValueError("--resize is for a folder of images.")
    if args.labels is not None and (args.data is None or folder):
        raise ValueError("--labels is for a .npy, .npz or .csv file.")
    if args.data is None:
        rows = load_digits()
    elif folder:
        rows = load_image_folder(args.data, size=args.resize)
    else:
        rows = load_array(args.data, labels=args.labels)
    if args.image_shape is None:
        return rows
    shape = tuple(args.image_shape)
    if math.prod(shape) != rows.X.shape[1]:
        raise ValueError(
            f"--image-shape must multiply to the {rows.X.shape[1]} values of a row, "
            f"got {shape}."
        )
    return rows._replace(image_shape=shape)


def _some_rows(rows: Rows, max_rows: int, seed: int) -> Rows:
    """Return at most `max_rows` rows, no two of them equal.

    Copies would lie on both sides of the split, and among a row's nearest neighbours
    they leave no room for a generated one.
    """
    _, first = np.unique(rows.X, axis=0, return_index=True)
    kept = np.random.default_rng(seed).permutation(np.sort(first))[:max_rows]
    return rows._replace(X=rows.X[kept], y=None if rows.y is None else rows.y[kept])


def widths_for(asked: list[int] | None, X_train: NDArray[Any]) -> list[int]:
    """Return the latent widths to try, at most as many as the linear step keeps."""
    most = linear_width(X_train)
    if asked is None:
        return [width for width in (2, 4, 8, 16, 32) if width <= most][-4:] or [1]
    if max(asked) > most:
        raise ValueError(
            f"--n-components must be at most {most} for these data, got {max(asked)}."
        )
    return sorted(set(asked))


def linear_width(X_train: NDArray[Any]) -> int:
    """Return how many principal components can be fitted on two of three folds."""
    return min(MAX_WIDTH, X_train.shape[1], len(X_train) // 2)


def writable_folder(path: Path) -> Path:
    """Return `path` as a folder that a file can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".manifoldgen"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot write to --out {path}: {reason}.") from error
    return path
