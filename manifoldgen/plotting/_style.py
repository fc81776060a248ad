"""What the pictures share: pyplot on demand, colours, quiet axes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. A. Petroff, "Accessible Color Sequences for Data Visualization", 2021,
# arXiv:2107.02270: ten colours kept apart under the common colour deficiencies.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = ("o", "^")  # the second ten classes repeat the colours in another shape
MAX_CLASSES = len(PALETTE) * len(MARKERS)
INK = "#333333"
MUTED = "#8a8a8a"
FAINT = "#d9d9d9"


def pyplot(caller: str) -> Any:
    """Return `matplotlib.pyplot`, or say which method needs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib: pip install matplotlib"
        ) from error
    return plt


def figure_and_axes(
    ax: "Axes | None",
    size: tuple[float, float],
    caller: str,
    layout: str = "constrained",
) -> "tuple[Any, Axes]":
    """Return `ax` with its figure, or a new figure of `size` inches with one axes."""
    plt = pyplot(caller)
    if ax is None:
        figure, ax = plt.subplots(figsize=size, layout=layout)
        return figure, ax
    return ax.get_figure(), ax


def merged(
    defaults: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return keyword arguments: the user's over the defaults."""
    return {**defaults, **(given or {})}


def quiet(ax: "Axes", grid: str | None = None) -> None:
    """Take away what carries no data; `grid` is "x", "y" or "both"."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(color=MUTED, labelcolor=INK)
    if grid is not None:
        ax.grid(axis=grid, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
        ax.set_axisbelow(True)


def class_styles(n_classes: int) -> list[tuple[str, str]]:
    """Return (colour, marker) for each of at most 20 classes."""
    n_colors = len(PALETTE)
    return [(PALETTE[k % n_colors], MARKERS[k // n_colors]) for k in range(n_classes)]


def is_categorical(labels: NDArray[Any]) -> bool:
    """Tell labels of classes, few and whole, from the values of a continuous target."""
    classes = np.unique(labels)
    if len(classes) > MAX_CLASSES:
        return False
    return labels.dtype.kind != "f" or bool(np.all(classes == np.round(classes)))
