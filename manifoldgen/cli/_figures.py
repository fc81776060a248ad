"""The figures of the demo, one function each, drawn by the displays."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV

from ..datasets import Split
from ..manifold import TSNEManifold
from ..pipeline import GenerativePipeline
from ..plotting import (
    EmbeddingDisplay,
    ReconstructionDisplay,
    SampleGridDisplay,
    SearchCurveDisplay,
    TrainingHistoryDisplay,
)
from ..plotting._style import MAX_CLASSES

Samples = Mapping[str, NDArray[Any]]
N_SHOWN = 36
SCORE_NAMES = {"coverage": "coverage", "energy": "minus energy distance"}


def draw_all(
    out: Path,
    split: Split,
    search: GridSearchCV,
    samples: Samples,
    corrupted: Samples,
    by_label: GenerativePipeline | None,
    args: argparse.Namespace,
) -> tuple[list[str], list[str]]:
    """Write every figure that the data allow.

    Returns
    -------
    names, left_out : list of str
        Files written, and what was not drawn with the reason.
    """
    mpl.use("agg")  # a command writes files and opens no window
    pipe = search.best_estimator_
    figures: dict[str, Figure] = {}
    left_out = []
    figures["latent_map"] = latent_map(pipe, split)
    figures["neighbor_map"] = neighbor_map(pipe, split, args)
    figures["generated_map"] = generated_map(pipe, samples)
    for step in ("autoencodermanifold", "latentgan"):
        display = TrainingHistoryDisplay.from_estimator(pipe, step=step)
        figures[f"training_{step}"] = display.figure_
    if len(search.cv_results_["params"]) > 1:
        figures["search"] = search_curve(search, args.choose_by)
    else:
        left_out.append("search curve (one width)")
    if split.image_shape is None or split.image_shape[0] not in (1, 3):
        left_out.append("pictures of rows (no images: see --image-shape)")
    else:
        figures["samples"] = sample_grids(samples, split)
        figures["reconstructions"] = reconstructions(pipe, split)
        figures["corrupted"] = corrupted_grid(corrupted, split)
        if by_label is not None:
            figures["by_label"] = label_grid(by_label, split, args.seed)
        else:
            left_out.append("samples by label (no labels of at most 20 classes)")
        figures["overview"] = overview(search, samples, split, args.choose_by)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=150)
        plt.close(figure)
    return [f"{name}.png" for name in figures], left_out


def latent_map(pipe: GenerativePipeline, split: Split) -> Figure:
    """Return the held-out rows in latent space, coloured by label."""
    display = EmbeddingDisplay.from_estimator(pipe, split.X_test, y=_shown(split))
    display.ax_.set_title("Held-out rows in latent space")
    return display.figure_


def neighbor_map(
    pipe: GenerativePipeline, split: Split, args: argparse.Namespace
) -> Figure:
    """Return who is near whom among the latents of held-out rows.

    The principal axes of the latent map lay groups over each other that are apart.
    """
    manifold = TSNEManifold(
        n_iter=50 if args.quick else 250,
        max_epochs=1,  # of the way back, which is not drawn
        device=args.device,
        random_state=args.seed,
    )
    manifold.fit(pipe[:-1].transform(split.X_train))
    Z = manifold.transform(pipe[:-1].transform(split.X_test))
    display = EmbeddingDisplay.from_latents(Z, y=_shown(split))
    display.ax_.set_title("Neighbours in latent space, by t-SNE")
    display.ax_.set(xlabel="", ylabel="")
    return display.figure_


def _shown(split: Split) -> NDArray[Any] | None:
    """Return labels that colours can tell apart: numbers, or a few names."""
    y = split.y_test
    if y is None or y.dtype.kind in "iuf" or len(np.unique(y)) <= MAX_CLASSES:
        return y
    return None


def generated_map(pipe: GenerativePipeline, samples: Samples) -> Figure:
    """Return real and generated rows in one latent space."""
    shown = {name: samples[name] for name in ("real, held out", "LatentGAN")}
    latents = pipe[:-1].transform(np.concatenate(list(shown.values())))
    names = np.repeat(list(shown), [len(rows) for rows in shown.values()])
    display = EmbeddingDisplay.from_latents(latents, y=names, contours=True)
    display.ax_.set_title("Generated and real rows in latent space")
    return display.figure_


def search_curve(search: GridSearchCV, metric: str) -> Figure:
    """Return the score over the latent width."""
    display = SearchCurveDisplay.from_estimator(
        search, metric=metric, score_name=SCORE_NAMES[metric]
    )
    return display.figure_


def sample_grids(samples: Samples, split: Split) -> Figure:
    """Return rows of each generator beside real ones, in one range of values."""
    figure, axes = plt.subplots(
        1,
        len(samples),
        figsize=(3.7 * len(samples), 3.9),
        layout="compressed",
        gridspec_kw={"wspace": 0.08},
    )
    for ax, (name, rows) in zip(axes, samples.items(), strict=True):
        _grid(ax, name, rows, split)
    return figure


def _grid(
    ax: Any, title: str, rows: NDArray[Any], split: Split, n_columns: int = 6
) -> None:
    SampleGridDisplay.from_samples(
        rows[:N_SHOWN],
        image_shape=split.image_shape,
        value_range=_range_of(split),
        ax=ax,
        n_columns=n_columns,
    )
    ax.set_title(title)


def _range_of(split: Split) -> tuple[float, float]:
    return float(split.X_train.min()), float(split.X_train.max())


def reconstructions(pipe: GenerativePipeline, split: Split) -> Figure:
    """Return held-out images above what the manifold makes of them."""
    display = ReconstructionDisplay.from_estimator(
        pipe, split.X_test[:24], image_shape=split.image_shape
    )
    return display.figure_


def corrupted_grid(corrupted: Samples, split: Split) -> Figure:
    """Return the same images, clean and corrupted, one kind a row."""
    kinds = {"clean": split.X_test, **corrupted}
    display = SampleGridDisplay.from_samples(
        np.concatenate([rows[:10] for rows in kinds.values()]),
        y=np.repeat(list(kinds), 10),
        image_shape=split.image_shape,
        value_range=_range_of(split),
    )
    return display.figure_


def label_grid(by_label: GenerativePipeline, split: Split, seed: int) -> Figure:
    """Return generated images, one label a row."""
    display = SampleGridDisplay.from_estimator(
        by_label,
        y=np.repeat(by_label[-1].classes_, 10),
        X=split.X_train,
        image_shape=split.image_shape,
        random_state=seed,
    )
    return display.figure_


def overview(
    search: GridSearchCV, samples: Samples, split: Split, metric: str
) -> Figure:
    """Return the main figures side by side."""
    figure = plt.figure(figsize=(11, 7.0), layout="constrained")
    pipe = search.best_estimator_
    rows = figure.add_gridspec(2, 1, height_ratios=(0.8, 1))
    above = figure.add_subfigure(rows[0])
    real, generated = above.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    _grid(real, "real, held out", samples["real, held out"], split, 9)
    _grid(generated, "generated by LatentGAN", samples["LatentGAN"], split, 9)
    axes = figure.add_subfigure(rows[1]).subplots(1, 2)
    EmbeddingDisplay.from_estimator(pipe, split.X_test, y=_shown(split), ax=axes[0])
    axes[0].set_title("latent map")
    SearchCurveDisplay.from_estimator(
        search, metric=metric, score_name=SCORE_NAMES[metric], ax=axes[1]
    )
    axes[1].set_title("choice of the latent width")
    return figure
