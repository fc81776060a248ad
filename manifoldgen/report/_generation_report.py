"""What is known of a generator, as plain data: text, HTML, JSON and a figure."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..persistence._container import replace_file
from ._figures import Figures

if TYPE_CHECKING:
    from ..plotting import GenerationReportDisplay

# The three questions in which people judge, each figure with where it is best: "real"
# is where real rows are.
VIEWS: dict[str, dict[str, str]] = {
    "generated against real": {
        "frechet_distance": "low",
        "kernel_distance": "low",
        "precision": "high",
        "recall": "high",
        "density": "real",
        "coverage": "high",
    },
    "does it follow the distribution": {
        "energy_distance": "low",
        "sliced_wasserstein": "low",
        "two_sample_accuracy": "low",
        "two_sample_p_value": "high",
        "modes_covered": "high",
        "mode_divergence": "low",
    },
    "is it useful, does it copy": {
        "label_agreement": "high",
        "downstream_accuracy": "high",
        "downstream_ratio": "high",
        "near_copy_share": "real",
        "membership_auc": "real",
        "membership_auc_error": "of .5",
    },
}
_BY_CLASS = ("share", "precision", "recall", "density", "coverage", "frechet_distance")
_CLASSES_PRINTED = 20
_PLAIN = ("figures", "n_samples", "n_neighbors", "units", "seconds")


@dataclass(frozen=True)
class GenerationReport:
    """What `evaluate_generator` returns: figures beside those of real rows.

    Printed, it is a table; in a notebook, one of HTML. The last column says where a
    figure is best: high, low, or where that of real rows is; of .5 is the standard
    error of an area of .5, which is chance.

    Parameters
    ----------
    figures : dict of str to dict of str to float or None
        By row, then by the name of the figure. The rows are "generated";
        "reconstruction", the held-out rows after the way to latent space and back,
        below which no generator in that space comes; and "real", training rows in the
        place of generated ones, or without training rows "halves", one half of the
        held-out rows against the other. A figure that a row cannot have is left out,
        and one that is not finite is None.
    n_samples : dict of str to int
        How many rows each was made from; figures of fewer rows look worse.
    n_neighbors : int
        Neighbours that a ball reaches to.
    units : str
        What the columns were measured in.
    per_class : dict of label to dict of str to dict of str to float or None
        As `figures`, for each class: its ``share`` of the rows and, where the
        generator draws by label, the figures of its own rows.
    seconds : dict of str to float
        What each function took, over all rows of the table.
    plane : dict of str to ndarray of shape (n, 1) or (n, 2), default=None
        Some "real" and "generated" rows on two principal axes of the real ones.
    examples : dict of str to ndarray of shape (m, ...), default=None
        Some "generated" rows and the "nearest" held-out ones, in the layout of X_test.

    See Also
    --------
    evaluate_generator : What the figures are, and what they come from.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from manifoldgen import GenerationReport, evaluate_generator
    >>> X, _ = load_iris(return_X_y=True)
    >>> mixture = GaussianMixture(3, random_state=0).fit(X[::2])
    >>> report = evaluate_generator(mixture, X[1::2], X_train=X[::2])
    >>> sorted(report.figures)
    ['generated', 'real']
    >>> GenerationReport.from_json(report.to_json()) == report
    True
    """

    figures: dict[str, Figures]
    n_samples: dict[str, int]
    n_neighbors: int
    units: str
    per_class: dict[Any, dict[str, Figures]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    plane: dict[str, NDArray[Any]] | None = field(
        default=None, compare=False, repr=False
    )
    examples: dict[str, NDArray[Any]] | None = field(
        default=None, compare=False, repr=False
    )

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the figures as JSON, without the rows of `plane` and `examples`.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write it too; a file that is there is replaced whole or, where
            writing fails, stays.

        Returns
        -------
        text : str
            What is not known is null; there is no NaN.

        Raises
        ------
        OSError
            If `path` cannot be written.
        """
        document = {name: getattr(self, name) for name in _PLAIN}
        # a list, because keys of JSON are strings and labels may be numbers
        document["per_class"] = [
            {"label": label, "figures": rows} for label, rows in self.per_class.items()
        ]
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        if path is not None:
            replace_file(path, [text.encode()])
        return text

    @classmethod
    def from_json(cls, text: str) -> "GenerationReport":
        """Return the report that `to_json` wrote.

        Parameters
        ----------
        text : str
            The JSON itself, not the path of a file.

        Returns
        -------
        report : GenerationReport
            Without `plane` and `examples`.

        Raises
        ------
        ValueError
            If `text` is not what `to_json` writes.
        """
        try:
            document = json.loads(text)
            classes = {it["label"]: it["figures"] for it in document["per_class"]}
            plain = {name: document[name] for name in _PLAIN}
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(
                f"text must be what GenerationReport.to_json returns, got "
                f"{text[:40]!r}. Read a file with Path(...).read_text()."
            ) from error
        return cls(per_class=classes, **plain)

    def plot(self, **kwargs: Any) -> "GenerationReportDisplay":
        """Draw the figures, and rows where the report holds any.

        Parameters
        ----------
        **kwargs
            Handed to `GenerationReportDisplay.from_report`, such as ``image_shape``.

        Returns
        -------
        display : GenerationReportDisplay
        """
        from ..plotting import GenerationReportDisplay

        return GenerationReportDisplay.from_report(self, **kwargs)

    def __str__(self) -> str:
        rows = list(self.figures)
        head = "".join(f"{row:>16}" for row in rows) + "  best"
        counts = "".join(f"{self.n_samples[row]:>16}" for row in rows)
        lines = [self._heading(), "", " " * 24 + head, f"{'rows':<24}{counts}"]
        for view, names in self._views():
            lines += ["", view]
            for name in names:
                values = "".join(f"{self._cell(row, name):>16}" for row in rows)
                lines.append(f"  {name:<22}{values}  {VIEWS[view][name]}")
        return "\n".join([*lines, *self._lines_by_class(), "", self._footing()])

    def _repr_html_(self) -> str:
        rows = list(self.figures)
        head = _html_row("th", ["", *rows, "best"])
        body = [_html_row("td", ["rows", *(self.n_samples[row] for row in rows), ""])]
        for view, names in self._views():
            body.append(f'<tr><th colspan="{len(rows) + 2}">{escape(view)}</th></tr>')
            for name in names:
                cells = [self._cell(row, name) for row in rows]
                body.append(_html_row("td", [name, *cells, VIEWS[view][name]]))
        parts = [_html_table(self._heading(), [head, *body])]
        table = self._classes()
        if table:
            listed = [_html_row("th", table[0])]
            listed += [_html_row("td", cells) for cells in table[1:]]
            parts.append(_html_table("by class, generated / real", listed))
        return f"<div>{''.join(parts)}<p>{escape(self._footing())}</p></div>"

    def _views(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the figures that any row has, by view."""
        for view, best in VIEWS.items():
            known = [
                name
                for name in best
                if any(row.get(name) is not None for row in self.figures.values())
            ]
            if known:
                yield view, known

    def _cell(self, row: str, name: str) -> str:
        return _short(self.figures[row].get(name))

    def _heading(self) -> str:
        return f"{self.units}; balls of {self.n_neighbors} neighbours"

    def _footing(self) -> str:
        slowest = sorted(self.seconds, key=lambda name: -self.seconds[name])[:2]
        parts = ", ".join(f"{name} {self.seconds[name]:.1f}" for name in slowest)
        return f"{sum(self.seconds.values()):.1f} seconds: {parts}"

    def _classes(self) -> list[list[str]]:
        """Return the table of classes, its head first; empty where there are none."""
        known = [name for name in _BY_CLASS if self._any_class_has(name)]
        table = [["class", *(name.removesuffix("_distance") for name in known)]]
        for label, rows in list(self.per_class.items())[:_CLASSES_PRINTED]:
            pairs = [
                [_figure_of_class(name, figures) for figures in rows.values()]
                for name in known
            ]
            table.append([str(label), *("/".join(pair) for pair in pairs)])
        return table if self.per_class else []

    def _any_class_has(self, name: str) -> bool:
        everything = (it for rows in self.per_class.values() for it in rows.values())
        return any(figures.get(name) is not None for figures in everything)

    def _lines_by_class(self) -> list[str]:
        table = self._classes()
        if not table:
            return []
        lines = ["", "by class, generated/real"]
        for name, *cells in table:
            lines.append(f"  {name[:12]:<12}" + "".join(f"{it:>12}" for it in cells))
        left = len(self.per_class) - _CLASSES_PRINTED
        return lines if left <= 0 else [*lines, f"  and {left} more in per_class"]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _figure_of_class(name: str, figures: Figures) -> str:
    """Return a figure in a few characters, two of which are to fit a column."""
    value = figures.get(name)
    if value is None:
        return "-"
    if name == "frechet_distance":
        return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{value:.3f}" if name == "share" else f"{value:.2f}"


def _html_row(tag: str, cells: list[Any]) -> str:
    return (
        "<tr>" + "".join(f"<{tag}>{escape(str(it))}</{tag}>" for it in cells) + "</tr>"
    )


def _html_table(caption: str, rows: list[str]) -> str:
    return f"<table><caption>{escape(caption)}</caption>{''.join(rows)}</table>"
