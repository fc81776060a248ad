"""The main job from data to report: choose, fit, generate, score, print, draw."""

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from .. import __version__
from ..datasets import Split
from ..exceptions import CollapseWarning
from ..generation import LatentGAN
from ..manifold import AutoencoderManifold
from ..model_selection import generation_scorer, one_standard_error
from ..outliers import MahalanobisScorer, ManifoldScorer
from ..pipeline import GenerativePipeline, make_generative_pipeline, sample_from
from ..plotting._style import MAX_CLASSES
from ..report import corrupted_rows, detection_report, generation_report, search_report
from . import _text
from ._arguments import linear_width
from ._figures import draw_all

WIDTH = "autoencodermanifold__n_components"
N_FOLDS = 3


def run_demo(
    split: Split, widths: Sequence[int], out: Path, args: argparse.Namespace
) -> None:
    """Fit, measure, print and draw; write figures and report.json to `out`."""
    start = time.perf_counter()
    report: dict[str, Any] = {"data": describe(split)}
    print(_text.data(report["data"]), flush=True)
    with _one_thread(), _expected_warnings_ignored():
        search = choose_width(split, widths, args)
        pipe = search.best_estimator_
        report["search"] = search_report(search, WIDTH)
        print(_text.search(report["search"], args.choose_by), flush=True)
        report["reconstruction"] = reconstruction(pipe, split)
        print(_text.reconstruction(report["reconstruction"]))
        samples = draw_samples(pipe, split, args.seed)
        report["generation"] = generation(samples, split)
        print(_text.generation(report["generation"]), flush=True)
        corrupted = corrupt(split, args.seed)
        scorers = fit_scorers(pipe, split, args.seed)
        report["detection"] = detection_report(scorers, split.X_test, corrupted)
        print(_text.detection(report["detection"]), flush=True)
        by_label = fit_by_label(pipe, split)
        figures, left_out = draw_all(
            out, split, search, samples, corrupted, by_label, args
        )
    report["figures"] = figures
    report["run"] = describe_run(args, time.perf_counter() - start)
    path = out / "report.json"
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    print(_text.files(out, [*figures, path.name], left_out))
    print(f"{report['run']['seconds']:.0f} s in all.")


def make_pipe(
    X_train: NDArray[Any], n_components: int, args: argparse.Namespace
) -> GenerativePipeline:
    """Return the pipeline of the demo, not fitted."""
    return make_generative_pipeline(
        MinMaxScaler(),
        PCA(linear_width(X_train), random_state=args.seed),
        AutoencoderManifold(
            n_components=n_components,
            max_epochs=20 if args.quick else 200,
            device=args.device,
            random_state=args.seed,
        ),
        LatentGAN(
            max_epochs=20 if args.quick else 200,
            device=args.device,
            random_state=args.seed,
        ),
    )


def choose_width(
    split: Split, widths: Sequence[int], args: argparse.Namespace
) -> GridSearchCV:
    """Return a fitted search for the smallest width that generates as well as any."""
    n_fits = N_FOLDS * len(widths)
    table = split.image_shape is None  # pixels share one unit, columns need not
    search = GridSearchCV(
        make_pipe(split.X_train, widths[0], args),
        {WIDTH: list(widths)},
        scoring={
            metric: generation_scorer(metric, standardize=table)
            for metric in ("coverage", "energy")
        },
        refit=one_standard_error(WIDTH, metric=args.choose_by),
        cv=KFold(N_FOLDS, shuffle=True, random_state=args.seed),
        n_jobs=args.n_jobs or min(os.cpu_count() or 1, n_fits),
        error_score="raise",
    )
    return search.fit(split.X_train)


def units(split: Split) -> NDArray[Any]:
    """Return what a value counts in: pixels as they are, columns by their spread."""
    spread = split.X_train.std(axis=0)
    if split.image_shape is not None:
        return np.ones_like(spread)
    return np.where(spread > 0, spread, 1.0)


def reconstruction(pipe: GenerativePipeline, split: Split) -> dict[str, float]:
    """Return the share of the held-out variance that latents of one width keep.

    PCA of the same width stands beside it: the most that flat latents keep.
    """
    n_components = pipe[-2].n_components
    flat = make_pipeline(MinMaxScaler(), PCA(n_components)).fit(split.X_train)
    unit = units(split)
    total = np.square((split.X_test - split.X_train.mean(axis=0)) / unit).sum()
    shares = {}
    for name, manifold in (("AutoencoderManifold", pipe[:-1]), ("PCA", flat)):
        back = manifold.inverse_transform(manifold.transform(split.X_test))
        error = np.square((split.X_test - back) / unit).sum()
        shares[name] = float(1 - error / total)
    return {"n_components": n_components, **shares}


def draw_samples(
    pipe: GenerativePipeline, split: Split, seed: int
) -> dict[str, NDArray[Any]]:
    """Return as many rows of the GAN, of a mixture on its latents, and real ones."""
    n_samples = len(split.X_test) // 2
    latents = pipe[:-1].transform(split.X_train).astype(np.float64)
    mixture = GaussianMixture(min(10, len(latents) // 10), random_state=seed)
    other = GenerativePipeline([*pipe.steps[:-1], ("mixture", mixture.fit(latents))])
    return {
        "LatentGAN": pipe.sample(n_samples, random_state=seed),
        f"GaussianMixture({mixture.n_components})": sample_from(
            other, n_samples, random_state=seed
        ),
        "real, held out": split.X_test[n_samples : 2 * n_samples],
    }


def generation(
    samples: dict[str, NDArray[Any]], split: Split
) -> dict[str, dict[str, float]]:
    """Return the figures of each sample against the other half of held-out rows."""
    unit = units(split)
    n_samples = len(split.X_test) // 2
    return generation_report(
        {name: rows / unit for name, rows in samples.items()},
        split.X_test[:n_samples] / unit,
        split.X_train / unit,
    )


def corrupt(split: Split, seed: int) -> dict[str, NDArray[Any]]:
    """Return the held-out rows spoilt in several ways."""
    if split.image_shape is None:
        return corrupted_rows(split.X_test, noise=1.0, random_state=seed)
    return corrupted_rows(split.X_test, image=True, random_state=seed)


def fit_scorers(pipe: GenerativePipeline, split: Split, seed: int) -> dict[str, Any]:
    """Return scorers fitted on clean rows: manifold, latents alone, rows."""
    latents = pipe[:-1].transform(split.X_train)
    on_latents = MahalanobisScorer(random_state=seed).fit(latents)
    scorer = ManifoldScorer(manifold=pipe[:-1], random_state=seed)
    return {
        "ManifoldScorer": scorer.fit(split.X_train),
        "MahalanobisScorer, latents": make_pipeline(pipe[:-1], on_latents),
        "MahalanobisScorer, rows": MahalanobisScorer(random_state=seed).fit(
            split.X_train
        ),
    }


def fit_by_label(pipe: GenerativePipeline, split: Split) -> GenerativePipeline | None:
    """Return the same pipeline learned by label, where images have classes."""
    if split.image_shape is None or split.y_train is None:
        return None
    if split.y_train.dtype.kind == "f":
        return None
    counts = np.unique(split.y_train, return_counts=True)[1]
    if counts.min() < 2 or len(counts) > MAX_CLASSES:
        return None
    conditional = clone(pipe).set_params(latentgan__conditional=True)
    return conditional.fit(split.X_train, split.y_train)


def describe(split: Split) -> dict[str, Any]:
    """Return what the data are."""
    labels = split.y_train
    return {
        "n_train": len(split.X_train),
        "n_test": len(split.X_test),
        "n_features": split.X_train.shape[1],
        "image_shape": None if split.image_shape is None else list(split.image_shape),
        "n_labels": None if labels is None else len(np.unique(labels)),
    }


def describe_run(args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Return what was run, with what, and how long it took."""
    return {
        "data": "digits" if args.data is None else str(args.data),
        "seed": args.seed,
        "choose_by": args.choose_by,
        "device": args.device,
        "quick": args.quick,
        "seconds": round(seconds, 1),
        "manifoldgen": __version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give torch one thread: the networks are small, and workers have one as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _expected_warnings_ignored() -> Iterator[None]:
    """Silence what a search over widths means to find out: that some do not do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", CollapseWarning)
        yield
