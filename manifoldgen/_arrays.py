"""Arrays in and out: images as rows, standardised columns, the caller's container."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._validation import check_sizes


def flatten_images(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return rows, and the shape of one image where `X` had more than 2 dimensions.

    Parameters
    ----------
    X : array-like
        (n, features), or images (n, height, width) or (n, channels, height, width).

    Returns
    -------
    rows : array-like of shape (n, features)
        `X` itself where it is not an array of 3 or 4 dimensions.
    shape : tuple of int or None
        What follows the first axis of `X`.
    """
    if getattr(X, "ndim", 2) not in (3, 4):
        return X, None
    array = np.asarray(X)
    shape = tuple(int(n) for n in array.shape[1:])
    return array.reshape(len(array), math.prod(shape)), shape


def image_shape_of(
    image_shape: Any, seen: tuple[int, ...] | None, n_features: int
) -> tuple[int, int, int]:
    """Return (channels, height, width) of a row, checked against what is known.

    Parameters
    ----------
    image_shape : tuple of int or None
        The parameter; None takes the shape that was seen, else a strip.
    seen : tuple of int or None
        What follows the first axis of images, as `flatten_images` returns it.
    n_features : int
        Width of a row.

    Raises
    ------
    TypeError, ValueError
        If `image_shape` is no such tuple, or does not match.

    Examples
    --------
    >>> image_shape_of(None, (28, 28), 784), image_shape_of(None, None, 5)
    ((1, 28, 28), (1, 1, 5))
    """
    if seen is not None and len(seen) == 2:
        seen = (1, *seen)
    if image_shape is None:
        return (seen[0], seen[1], seen[2]) if seen else (1, 1, n_features)
    shape = check_sizes("image_shape", image_shape)
    matches = math.prod(shape) == n_features and seen in (None, shape)
    if len(shape) != 3 or not matches:
        raise ValueError(
            "image_shape must be (channels, height, width) with a product of "
            f"n_features={n_features}"
            + (f" and match the images of shape {seen}" if seen else "")
            + f", got {image_shape!r}."
        )
    return shape[0], shape[1], shape[2]


def refuse_channels_last(image_shape: Any, seen: tuple[int, ...] | None) -> None:
    """Raise where the last axis of images looks like their channels.

    An `image_shape` that is given says that it is not.
    """
    if image_shape is not None or seen is None or len(seen) != 3:
        return
    if seen[-1] in (1, 3, 4) and seen[0] not in (1, 3, 4):
        raise ValueError(
            "X must hold images as (n, channels, height, width), got images of "
            f"shape {seen}, which looks like channels last. Pass "
            "X.transpose(0, 3, 1, 2), or image_shape= where it is right as it is."
        )


def pixel_units(rows: NDArray[Any]) -> str | None:
    """Return "bytes" for uint8 rows, "shares" for others in [0, 1], else None.

    None too for uint8 rows without a value above 1, which could be either.
    """
    if rows.dtype == np.uint8:
        return "bytes" if rows.max() > 1 else None
    return "shares" if rows.min() >= 0 and rows.max() <= 1 else None


def check_pixel_units(fitted: str | None, rows: NDArray[Any]) -> None:
    """Raise where images come in bytes after shares of 1, or the other way round.

    Floats in 0 to 255 may follow uint8, and those that are 0 and 1 alone as well.
    """
    given = pixel_units(rows)
    if fitted == "bytes" and given == "shares" and (rows != np.round(rows)).any():
        raise ValueError(
            "Images must be in the units of fit, which were uint8 of 0 to 255, got "
            "floats that are all in [0, 1]. Multiply them by 255."
        )
    if fitted == "shares" and given == "bytes":
        raise ValueError(
            "Images must be in the units of fit, which were floats in [0, 1], got "
            f"uint8 of up to {rows.max()}. Divide them by 255."
        )


def _blocks(X: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of rows that fit a processor's cache in float64."""
    step = max(1, 2**16 // max(X.shape[1], 1))
    return (slice(start, start + step) for start in range(0, len(X), step))


def column_moments(X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation of each column, in float64.

    A column whose spread is rounding error has a standard deviation of exactly 0.
    """
    mean = X.mean(axis=0, dtype=np.float64)
    variance = np.zeros_like(mean)
    for rows in _blocks(X):
        variance += np.square(X[rows] - mean).sum(axis=0)
    std = np.sqrt(variance / len(X))
    eps = np.finfo(X.dtype).eps if X.dtype.kind == "f" else np.finfo(np.float64).eps
    constant = X.min(axis=0) == X.max(axis=0)
    std[constant | (std <= eps * np.abs(mean))] = 0.0
    return mean, std


def standardize(
    X: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any] | float
) -> NDArray[np.float32]:
    """Return ``(X - mean) / scale`` in float32, computed in float64.

    Where `scale` is 0 the result is the plain difference, so that a value which
    differs from a constant column is seen.
    """
    divisor = np.where(np.asarray(scale) == 0, 1.0, scale)
    out = np.empty(X.shape, dtype=np.float32)
    for rows in _blocks(X):
        out[rows] = (X[rows] - mean) / divisor
    return out


def unstandardize(
    rows: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any] | float
) -> NDArray[np.float64]:
    """Return ``rows * scale + mean``, in float64."""
    out = np.empty(rows.shape)
    for part in _blocks(rows):
        out[part] = rows[part].astype(np.float64) * scale + mean
    return out


def warn_of_coarse_columns(
    owner: str, mean: NDArray[np.float64], std: NDArray[np.float64]
) -> None:
    """Warn of columns whose spread float32, the dtype of results, cannot resolve."""
    step = np.abs(mean) * np.finfo(np.float32).eps
    coarse = np.flatnonzero((std > 0) & (step > 0.01 * std))
    if len(coarse):
        named = ", ".join(map(str, coarse[:5])) + (", ..." if len(coarse) > 5 else "")
        warnings.warn(
            f"{owner} returns float32, which cannot resolve columns {named}: their "
            "mean is over 100,000 times their spread. Subtract the mean in float64 "
            "before, by a StandardScaler in a GenerativePipeline.",
            UserWarning,
            stacklevel=4,
        )


def container_of(X: Any) -> str | None:
    """Return the library of a data frame, "pandas" or "polars", else None."""
    if not hasattr(X, "columns"):
        return None
    library = type(X).__module__.split(".")[0]
    return library if library in ("pandas", "polars") else None


def to_container(rows: NDArray[Any], container: str | None, columns: Any) -> Any:
    """Return `rows` as a frame of the library `container`, or as they are for None."""
    if container is None or columns is None:
        return rows
    if container == "pandas":
        import pandas

        return pandas.DataFrame(rows, columns=list(columns))
    import polars

    return polars.DataFrame(rows, schema=list(columns))
