"""The candidates of a search as plain data."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted


def search_report(search: Any, parameter: str) -> list[dict[str, Any]]:
    """Return the candidates of a fitted search, in rising order of one parameter.

    Parameters
    ----------
    search : GridSearchCV or RandomizedSearchCV
        Fitted.
    parameter : str
        Name as in the search.

    Returns
    -------
    rows : list of dict
        For each candidate its ``value``; for each metric of the search (``score``
        where it has no name) the mean over the splits as ``<metric>`` and the
        standard error of that mean, ``std_test / sqrt(n_splits)``, as
        ``<metric>_error``; ``fit_seconds`` for one split; and whether it was
        ``chosen``.

    Raises
    ------
    ValueError
        If `parameter` was not searched.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> X, _ = load_iris(return_X_y=True)
    >>> search = GridSearchCV(PCA(), {"n_components": [2, 1]}, cv=2).fit(X)
    >>> [row["value"] for row in search_report(search, "n_components")]
    [1, 2]
    """
    check_is_fitted(search, "cv_results_")
    results = search.cv_results_
    if f"param_{parameter}" not in results:
        raise ValueError(f"parameter must be one that was searched, got {parameter!r}.")
    start = "mean_test_"
    metrics = [key.removeprefix(start) for key in results if key.startswith(start)]
    rows = []
    for index, candidate in enumerate(results["params"]):
        row = {"value": candidate[parameter]}
        for metric in metrics:
            row[metric] = float(results[f"mean_test_{metric}"][index])
            error = results[f"std_test_{metric}"][index] / np.sqrt(search.n_splits_)
            row[f"{metric}_error"] = float(error)
        row["fit_seconds"] = float(results["mean_fit_time"][index])
        row["chosen"] = bool(index == search.best_index_)
        rows.append(row)
    return sorted(rows, key=lambda row: row["value"])
