"""How near generated rows come to real ones, side by side for several sets."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..metrics import (
    energy_distance,
    membership_auc,
    near_copy_share,
    precision_recall_density_coverage,
)
from ..metrics._memorization import auc_error


def generation_report(
    samples: Mapping[str, Any],
    X_real: Any,
    X_train: Any,
    *,
    n_neighbors: int = 5,
) -> dict[str, dict[str, float]]:
    """Return how near several sets of rows come to real ones.

    Put real rows that no model has seen among the samples: what they get is what a
    perfect generator would get.

    Parameters
    ----------
    samples : mapping of str to array-like of shape (n_samples, n_features)
        Rows by the name of what made them, as many as in `X_real`.
    X_real : array-like of shape (n_samples, n_features)
        Held-out rows, in units that make columns comparable.
    X_train : array-like of shape (n_train, n_features)
        Rows that the generators were fitted on, for the share of near-copies.
    n_neighbors : int, default=5
        Neighbours that a ball reaches to, for the first four figures.

    Returns
    -------
    report : dict of str to dict of str to float
        By name: ``coverage``, ``density``, ``precision`` and ``recall`` (shares, higher
        is better), ``energy_distance`` (units of the data, lower is better),
        ``near_copies`` (a share, best where it is that of unseen real rows) and
        ``membership_auc`` (.5 where training rows cannot be told from `X_real`), with
        its standard error there, ``membership_auc_error``.

    Raises
    ------
    ValueError
        If the columns do not match, or there are too few rows.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> train, real, more, far = rng.normal(size=(4, 200, 2))
    >>> report = generation_report({"real": more, "far": far + 9}, real, train)
    >>> report["far"]["coverage"], bool(report["real"]["coverage"] > 0.9)
    (0.0, True)
    """
    report = {}
    for name, rows in samples.items():
        shares = precision_recall_density_coverage(
            X_real, rows, n_neighbors=n_neighbors
        )
        report[name] = {
            "coverage": shares.coverage,
            "density": shares.density,
            "precision": shares.precision,
            "recall": shares.recall,
            "energy_distance": energy_distance(X_real, rows),
            "near_copies": near_copy_share(X_train, rows),
            "membership_auc": membership_auc(X_train, X_real, rows),
            "membership_auc_error": auc_error(
                np.shape(X_train)[0], np.shape(X_real)[0]
            ),
        }
    return report
