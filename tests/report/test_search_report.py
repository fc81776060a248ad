import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from manifoldgen.report import search_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_search_report_reads_the_table_of_the_search(rng):
    X = rng.normal(size=(60, 3))
    search = GridSearchCV(PCA(), {"n_components": [3, 1]}, cv=3).fit(X)
    rows = search_report(search, "n_components")
    assert [row["value"] for row in rows] == [1, 3]
    for row, index in zip(rows, (1, 0), strict=True):
        scores = [search.cv_results_[f"split{k}_test_score"][index] for k in range(3)]
        assert row["score"] == pytest.approx(np.mean(scores))
        assert row["score_error"] == pytest.approx(np.std(scores) / 3**0.5)
        assert row["chosen"] == (index == search.best_index_)
    json.dumps(rows, allow_nan=False)


def test_search_report_holds_every_metric(rng):
    search = GridSearchCV(
        GaussianMixture(),
        {"n_components": [1, 2]},
        cv=2,
        scoring={"n": lambda e, X: e.n_components, "zero": lambda e, X: 0.0},
        refit="n",
    ).fit(rng.normal(size=(40, 2)))
    rows = search_report(search, "n_components")
    assert [(row["n"], row["zero"], row["chosen"]) for row in rows] == [
        (1.0, 0.0, False),
        (2.0, 0.0, True),
    ]
    with pytest.raises(ValueError, match="one that was searched, got 'k'"):
        search_report(search, "k")
