"""The report as text."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, the first to the left and the others to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(headers))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def data(found: Mapping[str, Any]) -> str:
    """Say what was read."""
    text = f"{found['n_train']} rows to learn from, {found['n_test']} held out; "
    text += f"{found['n_features']} values each"
    if found["image_shape"] is not None:
        text += ", images of " + " x ".join(str(n) for n in found["image_shape"])
    if found["n_labels"] is not None:
        text += f", {found['n_labels']} labels"
    return f"{text}.\nMinMaxScaler -> PCA -> AutoencoderManifold -> LatentGAN"


def search(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Say which width was chosen, and how the others did."""
    lines = [
        (
            str(row["value"]),
            f"{row['coverage']:.3f} ± {row['coverage_error']:.3f}",
            f"{row['energy']:.3f} ± {row['energy_error']:.3f}",
            f"{row['fit_seconds']:.1f}",
            "<- chosen" if row["chosen"] else "",
        )
        for row in rows
    ]
    headers = ("latent width", "coverage", "-energy distance", "s/fit", "")
    return (
        f"\nLatent width by cross-validation: the smallest within one standard error "
        f"of the best\n{metric}; mean ± standard error, higher is better\n"
        + table(headers, lines)
    )


def reconstruction(found: Mapping[str, float]) -> str:
    """Say how much of the variance the latents keep."""
    return (
        f"\nHeld-out variance that {found['n_components']} latents keep: "
        f"{found['AutoencoderManifold']:.3f} by the autoencoder, {found['PCA']:.3f} by "
        f"PCA"
    )


def generation(found: Mapping[str, Mapping[str, float]]) -> str:
    """Say how good generated rows are."""
    lines = [
        (
            name,
            *(f"{row[key]:.3f}" for key in ("coverage", "density", "precision")),
            f"{row['energy_distance']:.3g}",
            f"{row['near_copies']:.3f}",
            f"{row['membership_auc']:.3f} ± {row['membership_auc_error']:.3f}",
        )
        for name, row in found.items()
    ]
    headers = ("", "coverage", "density", "precision", "energy", "near copies")
    return (
        "\nGenerated rows against held-out ones (energy distance: low is good; near "
        "copies of\ntraining rows, a share: good where real rows are; membership: area "
        "under\nthe ROC curve of telling training rows, .5 ± its error is chance)\n"
        + table((*headers, "membership"), lines)
    )


def detection(found: Mapping[str, Mapping[str, float]]) -> str:
    """Say how well corrupted rows are found."""
    kinds = list(next(iter(found.values())))
    lines = [
        (name, *(f"{row[kind]:.3f}" for kind in kinds)) for name, row in found.items()
    ]
    return (
        "\nCorrupted rows among held-out ones (area under the ROC curve: 1 finds all)\n"
        + table(("", *kinds), lines)
    )


def files(out: Path, names: Sequence[str], left_out: Sequence[str]) -> str:
    """Say what was written, and what was not and why."""
    lines = textwrap.wrap(f"Written to {out}: {', '.join(names)}", 80)
    lines += [f"Left out: {reason}" for reason in left_out]
    return "\n" + "\n".join(lines)
