"""Real data as rows: scikit-learn's digits, MNIST, CIFAR-10, and the user's own files.

Toy manifolds are scikit-learn's own: `make_swiss_roll`, `make_s_curve`, `make_moons`.
"""

import csv
import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER_VARIABLE = "MANIFOLDGEN_DATA"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L", "LA")
_COLOR_MODES = ("P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")


class Rows(NamedTuple):
    """Rows with what is known about them.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,) or None
        Labels.
    image_shape : tuple of int (channels, height, width) or None
        Layout of a row that is an image.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None = None
    image_shape: tuple[int, int, int] | None = None


class Split(NamedTuple):
    """Rows to learn from, and rows held out.

    Attributes
    ----------
    X_train, X_test : ndarray of shape (n, n_features)
    y_train, y_test : ndarray of shape (n,) or None
        Labels.
    image_shape : tuple of int (channels, height, width) or None
        Layout of a row that is an image.
    """

    X_train: NDArray[Any]
    X_test: NDArray[Any]
    y_train: NDArray[Any] | None
    y_test: NDArray[Any] | None
    image_shape: tuple[int, int, int] | None


def split_rows(rows: Rows, *, test_size: float = 0.25, random_state: Any = 0) -> Split:
    """Hold out a share of the rows, of each class alike where every class has two.

    Parameters
    ----------
    rows : Rows
    test_size : float, default=0.25
        Share of the rows held out.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    split : Split

    Examples
    --------
    >>> split = split_rows(load_digits(), test_size=0.2)
    >>> split.X_train.shape, split.X_test.shape
    ((1437, 64), (360, 64))
    """
    from sklearn.model_selection import train_test_split

    X, y, image_shape = rows
    if y is None:
        X_train, X_test = train_test_split(
            X, test_size=test_size, random_state=random_state
        )
        return Split(X_train, X_test, None, None, image_shape)
    counts = np.unique(y, return_counts=True)[1]
    few = int(min(test_size, 1 - test_size) * len(y))
    stratify = y if counts.min() >= 2 and len(counts) <= few else None
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=test_size, random_state=random_state, stratify=stratify
    )
    return Split(X_train, X_test, y_train, y_test, image_shape)


def load_digits() -> Rows:
    """Return the digits that come with scikit-learn.

    Returns
    -------
    rows : Rows
        1797 rows of 64 values, float32 from 0 (paper) to 16 (ink), with labels 0 to 9
        and ``image_shape=(1, 8, 8)``.

    Examples
    --------
    >>> rows = load_digits()
    >>> rows.X.shape, rows.image_shape
    ((1797, 64), (1, 8, 8))
    """
    from sklearn.datasets import load_digits as bundled

    X, y = bundled(return_X_y=True)
    return Rows(X.astype(np.float32), y, (1, 8, 8))


def load_mnist(folder: str | os.PathLike[str] | None = None) -> Split:
    """Return MNIST: 60,000 and 10,000 handwritten digits.

    Parameters
    ----------
    folder : path, default=None
        Holds ``mnist.npz`` with X_train (60000, 28, 28), y_train, X_test and y_test.
        None is the folder that the variable MANIFOLDGEN_DATA names; where that is not
        set, `sklearn.datasets.fetch_openml` is asked, which downloads once.

    Returns
    -------
    split : Split
        Rows of 784 values, uint8, ``image_shape=(1, 28, 28)``.

    Raises
    ------
    FileNotFoundError
        If the folder has no ``mnist.npz``.
    ValueError
        If the file holds other arrays than these.
    """
    path = _file_in(folder, "mnist.npz")
    if path is None:
        X, y = _from_openml("mnist_784")
        return _official_split(X, y, 60_000, (1, 28, 28))
    with _open_npz(path, ("X_train", "y_train", "X_test", "y_test")) as file:
        X_train, X_test = (
            file[name].reshape(len(file[name]), -1) for name in ("X_train", "X_test")
        )
        return Split(X_train, X_test, file["y_train"], file["y_test"], (1, 28, 28))


def load_cifar10(folder: str | os.PathLike[str] | None = None) -> Split:
    """Return CIFAR-10: small colour photographs of ten kinds of things.

    Parameters
    ----------
    folder : path, default=None
        Holds ``cifar10.npz`` with one JPEG an image: the bytes ``jpeg_train``, the
        places ``offset_train`` where each begins and the last ends, ``y_train``, and
        the same with ``_test``. None is as for `load_mnist`. Needs Pillow.

    Returns
    -------
    split : Split
        Rows of 3072 values, uint8, ``image_shape=(3, 32, 32)``.

    Raises
    ------
    FileNotFoundError
        If the folder has no ``cifar10.npz``.
    ValueError
        If the file holds other arrays than these.
    """
    path = _file_in(folder, "cifar10.npz")
    if path is None:
        X, y = _from_openml("CIFAR_10")
        return _official_split(X, y, 50_000, (3, 32, 32))
    names = [f"{kind}_{part}" for part in ("train", "test") for kind in _JPEG_ARRAYS]
    with _open_npz(path, names) as file:
        X_train, X_test = (
            _decode_jpegs(file[f"jpeg_{part}"], file[f"offset_{part}"])
            for part in ("train", "test")
        )
        return Split(X_train, X_test, file["y_train"], file["y_test"], (3, 32, 32))


_JPEG_ARRAYS = ("jpeg", "offset", "y")


def _decode_jpegs(data: NDArray[np.uint8], offsets: NDArray[Any]) -> NDArray[np.uint8]:
    image_module = _pillow("load_cifar10")
    rows = np.empty((len(offsets) - 1, 3 * 32 * 32), dtype=np.uint8)
    for k, (start, end) in enumerate(pairwise(offsets)):
        image = image_module.open(io.BytesIO(data[start:end].tobytes()))
        rows[k] = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0).ravel()
    return rows


def _file_in(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    """Return the file in the folder given, or in that of the environment."""
    where = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if where is None:
        return None
    path = Path(where) / name
    if not path.is_file():
        source = "folder" if folder is not None else FOLDER_VARIABLE
        raise FileNotFoundError(f"{source} must hold {name}, which {where} does not.")
    return path


def _open_npz(path: Path, names: Sequence[str]) -> Any:
    file = np.load(path)
    missing = [name for name in names if name not in file.files]
    if missing:
        file.close()
        raise ValueError(f"{path} must hold {', '.join(missing)}, got {file.files}.")
    return file


def _from_openml(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import fetch_openml

    try:
        X, y = fetch_openml(
            name, version=1, return_X_y=True, as_frame=False, parser="liac-arff"
        )
    except OSError as error:
        raise FileNotFoundError(
            f"{name} is not in scikit-learn's cache and could not be downloaded "
            f"({error}). Pass folder=, or set {FOLDER_VARIABLE}."
        ) from error
    return X.astype(np.uint8), y.astype(np.int64)


def _official_split(
    X: NDArray[Any], y: NDArray[Any], n_train: int, image_shape: tuple[int, int, int]
) -> Split:
    return Split(X[:n_train], X[n_train:], y[:n_train], y[n_train:], image_shape)


def load_array(
    path: str | os.PathLike[str], *, labels: str | os.PathLike[str] | None = None
) -> Rows:
    r"""Return the rows of a .npy, .npz or .csv file.

    Parameters
    ----------
    path : path
        A .npy holds the rows; a .npz holds them as "X" or as its only array; a .csv
        holds a row a line, below a line of column names where the first line is not
        all numbers. Arrays of more dimensions, (n, height, width) or (n, channels,
        height, width), are images.
    labels : str or path, default=None
        The array of the .npz or the column of the .csv that holds the labels, or
        another file with one label a row. None takes "y" from a .npz that has it.

    Returns
    -------
    rows : Rows

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is no such file, a value is no number, or there is not one label a
        row.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "rows.csv"
    ...     _ = path.write_text("width,height,kind\n1,2,cat\n3,4,dog\n")
    ...     rows = load_array(path, labels="kind")
    >>> rows.X.tolist(), rows.y.tolist()
    ([[1.0, 2.0], [3.0, 4.0]], ['cat', 'dog'])
    """
    path = _existing(path)
    if path.suffix == ".csv":
        X, y = _read_csv(path, None if labels is None else str(labels))
    elif path.suffix == ".npz":
        X, y = _read_npz(path, None if labels is None else str(labels))
    elif path.suffix == ".npy":
        X, y = _read_npy(path), None
    else:
        raise ValueError(f"path must end in .npy, .npz or .csv, got {str(path)!r}.")
    if y is None and labels is not None:
        y = _read_labels(path, Path(labels))
    if X.ndim not in (2, 3, 4) or X.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must hold numbers of shape (n, features), (n, height, width) or "
            f"(n, channels, height, width), got {X.dtype} of shape {X.shape}."
        )
    if y is not None and y.shape != (len(X),):
        raise ValueError(
            f"labels must be one for each of the {len(X)} rows, got shape {y.shape}."
        )
    return Rows(X.reshape(len(X), -1), y, _image_shape_of(X))


def _image_shape_of(X: NDArray[Any]) -> tuple[int, int, int] | None:
    if X.ndim < 3:
        return None
    channels, height, width = X.shape[1:] if X.ndim == 4 else (1, *X.shape[1:])
    return channels, height, width


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}.")
    return found


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no array of numbers: {error}.") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive; call it .npz.")
    return array


def _read_npz(
    path: Path, labels: str | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, EOFError, OSError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no archive of arrays: {error}.") from error
    key = labels if labels is not None else "y"
    y = arrays.pop(key, None)
    if "X" not in arrays and len(arrays) != 1:
        raise ValueError(
            f"{path} must hold the rows as 'X' or as its only array, got "
            f"{sorted(arrays)}."
        )
    return arrays.get("X", next(iter(arrays.values()))), y


def _read_csv(
    path: Path, labels: str | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        raise ValueError(f"{path} is empty.")
    names = None if all(_is_number(cell) for cell in lines[0]) else lines[0]
    body = lines if names is None else lines[1:]
    if not body:
        raise ValueError(f"{path} has a line of names and no rows.")
    y = None
    if labels is not None and labels not in (names or ()):
        _check_label_file(path, Path(labels))
    if names is not None and labels in names:
        column = names.index(str(labels))
        y = _labels_from([line[column] for line in body if len(line) > column])
        names = names[:column] + names[column + 1 :]
        body = [line[:column] + line[column + 1 :] for line in body]
    return _numbers(path, body, names), y


def _numbers(
    path: Path, body: list[list[str]], names: list[str] | None
) -> NDArray[np.float64]:
    width = len(body[0]) if names is None else len(names)
    for k, line in enumerate(body, start=1):
        if len(line) != width:
            raise ValueError(
                f"{path}: row {k} has {len(line)} values where {width} are wanted."
            )
        for column, cell in enumerate(line):
            if not _is_number(cell):
                name = repr(names[column]) if names else str(column + 1)
                raise ValueError(
                    f"{path}: row {k}, column {name} is no number: {cell!r}. Only the "
                    f"column that is named as the labels may hold text."
                )
    return np.array(body, dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _labels_from(cells: list[str]) -> NDArray[Any]:
    """Return whole numbers where all cells are, else strings."""
    try:
        return np.array([int(cell) for cell in cells])
    except ValueError:
        return np.array(cells)


def _check_label_file(data: Path, path: Path) -> None:
    if not path.is_file() or path.suffix not in (".npy", ".csv", ".txt"):
        raise ValueError(
            f"labels must be an array or a column that {data} holds by name, or a "
            f".npy, .csv or .txt file with one label a row, got {str(path)!r}."
        )


def _read_labels(data: Path, path: Path) -> NDArray[Any]:
    _check_label_file(data, path)
    if path.suffix == ".npy":
        return _read_npy(path)
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return _labels_from([line.strip() for line in lines if line.strip()])


def load_image_folder(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None
) -> Rows:
    """Return the images of a folder, with the names of its sub-folders as labels.

    All images become grey where all are grey, else colour; transparency is dropped.
    Needs Pillow.

    Parameters
    ----------
    path : path
        A folder of images, or of one folder for each class; searched in the order of
        the names.
    size : tuple of int (height, width), default=None
        Resize every image to this many pixels. None wants them all of one size.

    Returns
    -------
    rows : Rows
        uint8; `y` is None where the images lie in the folder itself.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it.
    ValueError
        If the images differ in size and none is given, or one cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {str(path)!r}.")
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES
    )
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})."
        )
    y = _class_names(folder, files)
    images = [_read_image(file, size) for file in files]
    _check_one_size(files, images)
    grey = all(image.mode == "L" for image in images)
    X = np.stack([np.asarray(im if grey else im.convert("RGB")) for im in images])
    X = X[:, None] if grey else np.moveaxis(X, -1, 1)
    return Rows(np.ascontiguousarray(X).reshape(len(X), -1), y, _image_shape_of(X))


def _class_names(folder: Path, files: list[Path]) -> NDArray[Any] | None:
    loose = [file for file in files if file.parent == folder]
    if len(loose) == len(files):
        return None
    if loose:
        raise ValueError(
            f"{folder} must hold images or sub-folders of images, not both; "
            f"{loose[0].name} lies beside the sub-folders."
        )
    return np.array([file.relative_to(folder).parts[0] for file in files])


def _read_image(file: Path, size: tuple[int, int] | None) -> Any:
    image_module = _pillow("load_image_folder")
    try:
        with image_module.open(file) as opened:
            if opened.mode not in _GREY_MODES + _COLOR_MODES:
                raise ValueError(
                    f"{file} must have 8 bits a channel, got mode {opened.mode!r}."
                )
            image = opened.convert("L" if opened.mode in _GREY_MODES else "RGB")
    except OSError as error:
        raise ValueError(f"{file} cannot be read as an image: {error}.") from error
    return image if size is None else image.resize((size[1], size[0]))


def _check_one_size(files: list[Path], images: list[Any]) -> None:
    for file, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise ValueError(
                f"images must have one size, got {_pixels(images[0])} in "
                f"{files[0].name} and {_pixels(image)} in {file.name}. Pass "
                f"size=(height, width) to resize them."
            )


def _pixels(image: Any) -> str:
    return f"{image.height} x {image.width}"


def _pillow(caller: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"{caller} needs Pillow: pip install pillow") from error
    return Image
