"""What training saw, epoch by epoch, as plain data."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray


class History(Mapping[str, NDArray[np.float64]]):
    """A mapping from the name of a figure to its value at each epoch.

    Parameters
    ----------
    rows : list of dict of str to float, default=()
        One dict an epoch.

    Examples
    --------
    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history.append({"epoch": 2, "loss": 0.25, "validation_loss": 0.5})
    >>> history["loss"]
    array([0.5 , 0.25])
    >>> history["validation_loss"]
    array([nan, 0.5])
    >>> list(history)
    ['epoch', 'loss', 'validation_loss']
    """

    def __init__(self, rows: list[dict[str, float]] | None = None) -> None:
        self.rows: list[dict[str, float]] = [dict(row) for row in rows or ()]

    def append(self, row: Mapping[str, float]) -> None:
        """Add the figures of one epoch."""
        self.rows.append({name: float(value) for name, value in row.items()})

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in set(self):
            raise KeyError(name)
        return np.array([row.get(name, np.nan) for row in self.rows])

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"History({len(self.rows)} epochs: {', '.join(self)})"
