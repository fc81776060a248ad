"""Rules that choose a candidate of a search, for ``GridSearchCV(refit=...)``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_standard_error(
    parameter: str, *, smaller_is_simpler: bool = True, metric: str = "score"
) -> "OneStandardError":
    """Return a rule for ``refit=``: the simplest model about as good as the best.

    Of the candidates whose mean score is at least the best one minus its standard
    error, it takes the one with the smallest value of `parameter`, and of several
    with that value the best. The standard error is that of the best candidate:
    ``std_test_score / sqrt(n_splits)``. Scores that are not finite count as failed.

    Parameters
    ----------
    parameter : str
        Name as in the search, such as ``"pca__n_components"``; its values are numbers.
        Other parameters may be searched with it.
    smaller_is_simpler : bool, default=True
        False takes the largest value, as for a penalty.
    metric : str, default="score"
        Which score, where ``scoring`` of the search names several.

    Returns
    -------
    rule : OneStandardError
        A callable ``rule(cv_results) -> best_index`` that can be pickled.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical
       Learning", 2nd ed., 2009, section 7.10.1. We take the standard deviation of
       `cv_results_`, over n and not n - 1 splits, so that the rule can be checked by
       that table.

    Examples
    --------
    >>> from manifoldgen import one_standard_error
    >>> results = {
    ...     "param_pca__n_components": [2, 8, 32],
    ...     "mean_test_score": [0.2, 0.7, 0.75],
    ...     "std_test_score": [0.1, 0.1, 0.2],
    ...     "split0_test_score": [0.1, 0.6, 0.55],
    ...     "split1_test_score": [0.3, 0.8, 0.95],
    ... }
    >>> one_standard_error("pca__n_components")(results)
    1
    """
    return OneStandardError(parameter, smaller_is_simpler, metric)


@dataclass(frozen=True)
class OneStandardError:
    """What `one_standard_error` returns: data that a worker process can be sent.

    Parameters
    ----------
    parameter : str
        Name as in the search.
    smaller_is_simpler : bool, default=True
        False takes the largest value.
    metric : str, default="score"
        Which score.

    Examples
    --------
    >>> from manifoldgen import one_standard_error
    >>> rule = one_standard_error("ridge__alpha", smaller_is_simpler=False)
    >>> rule.parameter, rule.smaller_is_simpler, rule.metric
    ('ridge__alpha', False, 'score')
    """

    parameter: str
    smaller_is_simpler: bool = True
    metric: str = "score"

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        """Return the index of the chosen candidate.

        Parameters
        ----------
        cv_results : dict
            As a fitted search has it in `cv_results_`.

        Returns
        -------
        best_index : int

        Raises
        ------
        ValueError
            If the parameter or the score is not in the search, or no candidate has a
            finite score.
        TypeError
            If a value of the parameter is not a number.
        """
        cost = self._cost(cv_results)
        means = np.asarray(self._column(cv_results, "mean_test_"), dtype=np.float64)
        stds = np.asarray(self._column(cv_results, "std_test_"), dtype=np.float64)
        usable = np.isfinite(means)
        if not usable.any():
            raise ValueError(
                "one_standard_error needs a candidate with a finite mean score, but "
                f"all {len(means)} failed. error_score='raise' shows why."
            )
        best = int(np.argmax(np.where(usable, means, -np.inf)))
        error = stds[best] / np.sqrt(self._n_splits(cv_results))
        near = np.flatnonzero(usable & (means >= means[best] - error))
        # By cost, then by score; a candidate without the parameter has no cost.
        order = np.lexsort((-means[near], cost[near]))
        chosen = int(near[order[0]])
        return chosen if np.isfinite(cost[chosen]) else best

    def _cost(self, cv_results: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return what should be small; infinity where there is no value."""
        values = cv_results.get(f"param_{self.parameter}")
        if values is None:
            searched = [key[6:] for key in cv_results if key.startswith("param_")]
            raise ValueError(
                f"parameter must be one that was searched: {', '.join(searched)}; got "
                f"{self.parameter!r}."
            )
        absent = np.ma.getmaskarray(values)
        sign = 1.0 if self.smaller_is_simpler else -1.0
        cost = np.full(len(values), np.inf)
        for index in np.flatnonzero(~absent):
            value = values[index]
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
                raise TypeError(
                    f"parameter must have values that are numbers, but "
                    f"{self.parameter!r} was searched over {value!r}."
                )
            cost[index] = sign * float(value)
        return cost

    def _column(self, cv_results: Mapping[str, Any], prefix: str) -> Any:
        if prefix + self.metric not in cv_results:
            start = "mean_test_"
            known = [key[len(start) :] for key in cv_results if key.startswith(start)]
            raise ValueError(
                f"metric must be one that the search scored: {', '.join(known)}; got "
                f"{self.metric!r}. Name it in one_standard_error(..., metric=...)."
            )
        return cv_results[prefix + self.metric]

    def _n_splits(self, cv_results: Mapping[str, Any]) -> int:
        split = re.compile(rf"split\d+_test_{re.escape(self.metric)}")
        return sum(split.fullmatch(key) is not None for key in cv_results)
