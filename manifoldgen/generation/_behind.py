"""New rows and labels behind those given, in their containers, layouts and dtypes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from .._arrays import container_of


def dtypes_of(X: Any, n_columns: int) -> list[np.dtype]:
    """Return the dtype of each column, numpy's for those of a data frame too.

    Raises
    ------
    TypeError
        If a column of a data frame is of no kind of numbers.

    Examples
    --------
    >>> import pandas
    >>> dtypes_of(pandas.DataFrame({"a": [1.5], "b": [2]}).astype({"b": "Int32"}), 2)
    [dtype('float64'), dtype('int32')]
    """
    if container_of(X) is None:
        dtype = np.asarray(X).dtype
        return [dtype if dtype.kind in "iufb" else np.dtype(np.float64)] * n_columns
    return [
        _dtype_of(name, dtype) for name, dtype in zip(X.columns, X.dtypes, strict=True)
    ]


def _dtype_of(column: Any, dtype: Any) -> np.dtype:
    name = str(dtype).lower().split("[")[0]  # "Int64", "int64[pyarrow]" are int64
    try:
        found = np.dtype("bool" if name == "boolean" else name)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "iufb":
        raise TypeError(
            f"X must hold columns of numbers, got column {column!r} of {dtype}. Encode "
            "it before, or leave it out."
        )
    return found


def as_values_of(dtypes: list[np.dtype], rows: NDArray[Any]) -> NDArray[Any]:
    """Return `rows` as floats that the columns' dtypes can hold.

    Those of integers are rounded and cut to their range, those of truth values are
    0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> as_values_of([np.dtype(np.uint8)] * 2, np.array([[-3.2, 7.6]]))
    array([[0., 8.]])
    """
    rows = rows.astype(np.result_type(rows.dtype, np.float32))
    for dtype in set(dtypes):
        mine = [column for column, it in enumerate(dtypes) if it == dtype]
        if dtype.kind in "iu":
            rows[:, mine] = np.rint(rows[:, mine]).clip(*_limits(dtype, rows.dtype))
        elif dtype.kind == "b":
            rows[:, mine] = rows[:, mine] > 0.5
    return rows


def _limits(dtype: np.dtype, of: np.dtype) -> tuple[Any, Any]:
    """Return the least and the largest integer that both dtypes hold."""
    info = np.iinfo(dtype)
    low, high = of.type(info.min), of.type(info.max)
    return low, high if int(high) <= info.max else np.nextafter(high, of.type(0))


def rows_behind(X: Any, rows: NDArray[Any]) -> Any:
    """Return `X` with new rows behind it, in its container, layout and dtypes."""
    container = container_of(X)
    if container == "pandas":
        import pandas

        frame = pandas.DataFrame(rows).astype(dict(enumerate(X.dtypes)))
        frame.columns = X.columns
        return pandas.concat([X, frame], ignore_index=True)
    if container == "polars":
        import polars

        columns = zip(X.schema.items(), rows.T, strict=True)
        series = [polars.Series(name, it).cast(kind) for (name, kind), it in columns]
        return polars.concat([X, polars.DataFrame(series)])
    X = np.asarray(X)
    return np.concatenate([X, rows.reshape(-1, *X.shape[1:]).astype(X.dtype)])


def labels_behind(y: Any, labels: NDArray[Any]) -> Any:
    """Return `y` with new labels behind it, in its container and dtype."""
    library = type(y).__module__.split(".")[0]
    if library == "pandas" and hasattr(y, "name"):
        import pandas

        new = pandas.Series(labels, dtype=y.dtype, name=y.name)
        return pandas.concat([pandas.Series(y), new], ignore_index=True)
    if library == "polars" and hasattr(y, "name"):
        import polars

        return polars.concat([y, polars.Series(y.name, labels.tolist(), dtype=y.dtype)])
    y = column_or_1d(y)
    return np.concatenate([y, labels.astype(y.dtype)])
