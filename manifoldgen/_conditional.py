"""Labels of what is sampled: learned where `conditional`, asked for or drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._random import draw_seed
from ._validation import check_bool


class ConditionalMixin:
    """Keeps `classes_` and `class_prior_`, and turns labels into positions in them."""

    conditional: bool
    classes_: NDArray[Any]
    class_prior_: NDArray[np.float64]

    def _learn_labels(self, y: Any, n: int) -> NDArray[np.int64] | None:
        """Return labels as positions in `classes_`, None where not `conditional`."""
        check_bool("conditional", self.conditional)
        self.__dict__.pop("classes_", None)
        self.__dict__.pop("class_prior_", None)
        if not self.conditional:
            return None
        labels = check_labels_of_rows(y, n)
        self.classes_, codes, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        if counts.min() < 2:
            rare = self.classes_.tolist()[counts.argmin()]
            raise ValueError(
                "conditional=True needs 2 rows of each class at least, got one of "
                f"y={rare!r}. Drop the class or add rows; a target that is measured, "
                "not named, cannot be a condition."
            )
        self.class_prior_ = counts / n
        return codes

    @property
    def _n_classes(self) -> int:
        return len(self.classes_) if hasattr(self, "classes_") else 0

    def _codes_for(
        self, n_samples: int, y: Any, rng: np.random.RandomState
    ) -> NDArray[np.int64] | None:
        """Return positions of the labels `y`, or drawn ones; None if unconditional."""
        if not hasattr(self, "classes_"):
            if y is not None:
                raise ValueError(
                    f"y={y.tolist()[0]!r} was asked of a {type(self).__name__} that "
                    "was fitted without labels. Set conditional=True and fit it on X "
                    "and y."
                )
            return None
        if y is None:
            # a stream of its own, or the noise of a row would depend on n_samples
            rng = np.random.RandomState(draw_seed(rng))
            return rng.choice(len(self.classes_), n_samples, p=self.class_prior_)
        unknown = sorted(set(np.unique(y).tolist()) - set(self.classes_.tolist()))
        if unknown:
            raise ValueError(
                f"y must hold labels that fit saw, {self.classes_.tolist()}, got "
                f"{unknown}."
            )
        return np.searchsorted(self.classes_, y)

    def _one_hot(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.eye(len(self.classes_), dtype=np.float32)[codes]


def every_class_kept(
    kept: NDArray[np.int64], out: NDArray[np.int64], codes: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on and those held out, no class among the latter alone.

    A class that is held out whole would not be learned.
    """
    if codes is None:
        return kept, out
    lost = ~np.isin(codes[out], codes[kept])
    return np.sort(np.append(kept, out[lost])), out[~lost]


def check_labels_of_rows(
    y: Any, n: int, parameter: str | None = "conditional"
) -> NDArray[Any]:
    """Return `y` as `n` discrete labels without a missing one, else raise.

    `parameter` is the name of the one that asks for them, None where none does.
    """
    if y is None:
        raise ValueError(
            f"{parameter}=True needs labels: call fit(X, y), or set {parameter}=False."
        )
    n_missing = sum(map(_is_missing, y.tolist() if hasattr(y, "tolist") else y))
    if n_missing:
        without = "" if parameter is None else f", or set {parameter}=False"
        raise ValueError(
            f"y must hold a label for each row, got {n_missing} missing ones (NaN "
            f"or None). Leave these rows out{without}."
        )
    labels = column_or_1d(y, warn=True)
    check_consistent_length(np.empty(n), labels)
    check_classification_targets(labels)
    return labels


def _is_missing(label: Any) -> bool:
    nan = isinstance(label, float) and label != label
    return label is None or nan or type(label).__name__ in ("NAType", "NaTType")
