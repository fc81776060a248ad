import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline

from manifoldgen import (
    GenerationReport,
    GenerationReportDisplay,
    evaluate_generator,
)

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def report(digits):
    X, _ = digits
    mixture = GaussianMixture(3, random_state=0)
    pipe = make_pipeline(PCA(8, random_state=0), mixture).fit(X[:300])
    return evaluate_generator(pipe, X[300:], X_train=X[:300], standardize=False)


FIGURES = {
    "generated": {"precision": 0.5, "frechet_distance": 6.0, "membership_auc": 0.6},
    "reconstruction": {"precision": 0.9, "frechet_distance": 4.0},
    "real": {"precision": 0.8, "frechet_distance": 2.0, "membership_auc": 0.5},
}


def marks(ax):
    """Return the horizontal places of marks by their name in the legend."""
    handles, labels = ax.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    return {
        name: found[name].get_offsets()[:, 0].tolist()
        for name in ("real", "reconstruction")
    }


def test_bars_and_marks_by_hand():
    display = GenerationReportDisplay(figures=FIGURES).plot()
    assert list(display.axes_) == ["shares", "distances", "uses"]
    assert [bar.get_width() for bar in display.bars_["shares"]] == [0.5]
    assert marks(display.axes_["shares"]) == {"real": [0.8], "reconstruction": [0.9]}
    (bar,) = display.bars_["distances"]  # from the distance of real rows to 3 times it
    assert (bar.get_x(), bar.get_x() + bar.get_width()) == (1.0, 3.0)
    assert marks(display.axes_["distances"]) == {"real": [1.0], "reconstruction": [2.0]}
    assert display.axes_["distances"].get_xscale() == "log"
    names = [text.get_text() for text in display.legend_.get_texts()]
    assert sorted(names) == ["generated", "real", "reconstruction"]


def test_the_span_where_nothing_leaks():
    figures = {"generated": {"near_copy_share": 0.4, "membership_auc": 0.6}}
    bare = GenerationReportDisplay(figures=figures).plot()
    assert "no leak" not in [it.get_text() for it in bare.legend_.get_texts()]
    figures["generated"]["membership_auc_error"] = 0.03
    display = GenerationReportDisplay(figures=figures).plot()
    handles, labels = display.axes_["uses"].get_legend_handles_labels()
    (span,) = dict(zip(labels, handles, strict=True))["no leak"].lines[2]
    np.testing.assert_allclose(span.get_segments()[0], [[0.44, -1.0], [0.56, -1.0]])


def test_distances_have_their_own_unit_where_no_real_rows_stand_in():
    figures = {"generated": FIGURES["generated"]}
    display = GenerationReportDisplay(figures=figures).plot()
    (bar,) = display.bars_["distances"]
    assert (bar.get_x(), bar.get_width()) == (0.0, 6.0)
    assert display.axes_["distances"].get_xlabel() == "distance from the real rows"


def test_figures_that_are_not_known_have_no_panel():
    figures = {"generated": {"coverage": 0.5, "membership_auc": None}}
    display = GenerationReportDisplay(figures=figures).plot()
    assert list(display.axes_) == ["shares"]


def test_rows_are_points_on_two_axes(report):
    display = report.plot()
    assert list(display.axes_) == ["rows", "shares", "distances", "uses"]
    real, generated = display.scatters_
    np.testing.assert_array_equal(real.get_offsets(), report.plane["real"])
    np.testing.assert_array_equal(generated.get_offsets(), report.plane["generated"])
    assert real.get_label() in [it.get_text() for it in display.legend_.get_texts()]
    widths = [bar.get_width() for bar in display.bars_["shares"]]
    names = ("precision", "recall", "density", "coverage", "two_sample_accuracy")
    assert widths == [report.figures["generated"][name] for name in names]


def test_images_stand_above_their_nearest_ones(report):
    display = report.plot(image_shape=(1, 8, 8), im_kwargs={"cmap": "gray_r"})
    assert display.scatters_ == []
    assert display.image_.get_cmap().name == "gray_r"
    nearest = report.examples["nearest"]
    low, high = nearest.min(), nearest.max()
    picture = display.image_.get_array()
    for k, left in ((0, 0), (1, 9)):  # a pixel is left free between two
        for rows, top in ((report.examples["generated"], 0), (nearest, 9)):
            expected = np.clip((rows[k].reshape(8, 8) - low) / (high - low), 0, 1)
            np.testing.assert_allclose(
                picture[top : top + 8, left : left + 8], expected
            )
    names = [label.get_text() for label in display.axes_["rows"].get_yticklabels()]
    assert names == ["generated", "nearest real"] * 2


def test_rows_that_are_images_need_no_shape(digits):
    images = digits[0].reshape(-1, 8, 8)

    class Images(KernelDensity):
        def fit(self, X, y=None):
            return super().fit(X.reshape(len(X), -1))

        def sample(self, n_samples=1, random_state=None):
            return super().sample(n_samples, random_state).reshape(-1, 8, 8)

    report = evaluate_generator(Images().fit(images[:300]), images[300:])
    assert report.plot().images.shape == (2, 12, 8, 8)


def test_rows_of_one_column_are_histograms():
    X = np.random.default_rng(0).normal(size=(80, 1))
    display = evaluate_generator(KernelDensity().fit(X[:40]), X[40:]).plot()
    assert display.scatters_ == []
    assert len(display.axes_["rows"].patches) == 2
    display.figure_.canvas.draw()


def test_a_report_from_json_is_drawn_without_rows(report):
    read = GenerationReport.from_json(report.to_json())
    display = read.plot()
    assert list(display.axes_) == ["shares", "distances", "uses"]
    with pytest.raises(ValueError, match="None for a report that was read from JSON"):
        read.plot(image_shape=(8, 8))


def test_the_layout_must_suit_the_rows(report):
    with pytest.raises(ValueError, match="64 values in all"):
        report.plot(image_shape=(1, 8, 7))


def test_it_draws_into_a_figure_that_is_there():
    figure = Figure(layout="constrained")
    display = GenerationReportDisplay(figures=FIGURES)
    assert display.plot(figure=figure, bar_kwargs={"color": "red"}) is display
    assert display.figure_ is figure
    assert display.bars_["shares"][0].get_facecolor() == (1.0, 0.0, 0.0, 1.0)
    figure.canvas.draw()
