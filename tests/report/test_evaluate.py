"""What a report says of generators that are known to be good or bad."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_random_state

from manifoldgen import (
    classifier_two_sample_test,
    energy_distance,
    evaluate_generator,
    frechet_distance,
    kernel_distance,
    membership_auc,
    mode_coverage,
    precision_recall_density_coverage,
    sample_from,
    sliced_wasserstein,
    train_on_synthetic,
)
from manifoldgen.metrics import near_copy_share
from manifoldgen.report._figures import some_of_each

CENTERS = {"a": (0, 0, 0), "b": (8, 0, 0), "c": (0, 8, 0)}


def rows_and_labels(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.choice(list(CENTERS), n, p=[0.5, 0.3, 0.2])
    return rng.normal(size=(n, 3)) + [CENTERS[label] for label in y], y


X_TRAIN, Y_TRAIN = rows_and_labels(200, seed=1)
X_TEST, Y_TEST = rows_and_labels(150, seed=2)


class Given(BaseEstimator):
    """Draws rows that were handed over, with a shift; knows no labels."""

    def __init__(self, rows=None, shift=0.0):
        self.rows = rows
        self.shift = shift

    def fit(self, X, y=None):
        self.rows_ = np.asarray(self.rows)
        return self

    def sample(self, n_samples=1, *, random_state=None):
        return self.rows_[:n_samples] + self.shift


class ByLabel(BaseEstimator):
    """Draws a row of the class that is asked for, about its centre."""

    def __init__(self, swapped=False):
        self.swapped = swapped

    def fit(self, X, y=None):
        self.classes_ = np.unique(y)
        self.means_ = np.array([X[y == label].mean(axis=0) for label in self.classes_])
        if self.swapped:
            self.means_ = self.means_[::-1]
        return self

    def sample(self, n_samples=1, *, y=None, random_state=None):
        rng = check_random_state(random_state)
        y = rng.choice(self.classes_, n_samples) if y is None else y
        means = self.means_[np.searchsorted(self.classes_, y)]
        return means + rng.standard_normal(means.shape)


@pytest.fixture(scope="module")
def pipe():
    mixture = GaussianMixture(3, random_state=0)
    return make_pipeline(StandardScaler(), PCA(2), mixture).fit(X_TRAIN)


@pytest.fixture(scope="module")
def conditional():
    return ByLabel().fit(X_TRAIN, Y_TRAIN)


@pytest.fixture(scope="module")
def full(conditional):
    return evaluate_generator(
        conditional, X_TEST, X_train=X_TRAIN, y=Y_TEST, y_train=Y_TRAIN
    )


def test_figures_are_those_of_the_metrics(pipe):
    report = evaluate_generator(
        pipe, X_TEST, X_train=X_TRAIN, n_neighbors=4, random_state=3
    )
    spread = X_TEST.std(axis=0)
    drawn = sample_from(pipe, len(X_TEST), random_state=3) / spread
    back = pipe[:-1].inverse_transform(pipe[:-1].transform(X_TEST)) / spread
    real, train = X_TEST / spread, X_TRAIN / spread
    for row, rows in (("generated", drawn), ("reconstruction", back)):
        expected = {
            **precision_recall_density_coverage(real, rows, n_neighbors=4)._asdict(),
            "frechet_distance": frechet_distance(real, rows),
            "kernel_distance": kernel_distance(real, rows),
            "energy_distance": energy_distance(real, rows),
            "sliced_wasserstein": sliced_wasserstein(real, rows, random_state=3),
        }
        if row == "generated":
            test = classifier_two_sample_test(real, rows, random_state=3)
            expected["two_sample_accuracy"] = test.accuracy
            expected["two_sample_p_value"] = test.p_value
            expected["near_copy_share"] = near_copy_share(train, rows)
            expected["membership_auc"] = membership_auc(train, real, rows)
            # of Mann and Whitney's statistic: 200 training rows and 150 others
            expected["membership_auc_error"] = np.sqrt(351 / (12 * 200 * 150))
        assert report.figures[row] == pytest.approx(expected, rel=1e-9)
    assert report.figures["real"]["near_copy_share"] == near_copy_share(train, real)
    error = np.sqrt(276 / (12 * 200 * 75))  # half of the held-out rows
    assert report.figures["real"]["membership_auc_error"] == pytest.approx(error)
    assert "of .5" in str(report)
    assert report.n_samples == {"generated": 150, "reconstruction": 150, "real": 150}
    assert report.n_neighbors == 4
    assert report.units == "3 columns divided by their spread over X_test"


def test_figures_of_labels_are_those_of_the_metrics(conditional, full):
    spread = X_TEST.std(axis=0)
    drawn = conditional.sample(150, y=Y_TEST, random_state=0) / spread
    real, train = X_TEST / spread, X_TRAIN / spread
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train, Y_TRAIN)
    for row, rows in (("generated", drawn), ("real", real)):
        modes = mode_coverage(rows, model, y_real=Y_TEST)
        assert full.figures[row]["modes_covered"] == modes.n_covered / 3
        assert full.figures[row]["mode_divergence"] == modes.kl_divergence
        agreement = full.figures[row]["label_agreement"]
        assert agreement == np.mean(model.predict(rows) == Y_TEST)
    chosen = some_of_each(Y_TRAIN, 150, 0)
    trained = train_on_synthetic(
        drawn, Y_TEST, real, Y_TEST, X_train=train[chosen], y_train=Y_TRAIN[chosen]
    )
    generated = full.figures["generated"]
    assert generated["downstream_accuracy"] == pytest.approx(trained.accuracy)
    assert generated["downstream_ratio"] == pytest.approx(trained.ratio)
    assert full.figures["real"]["downstream_accuracy"] == trained.real_accuracy


def test_figures_of_a_class_are_those_of_its_rows(conditional, full):
    spread = X_TEST.std(axis=0)
    drawn = conditional.sample(150, y=Y_TEST, random_state=0) / spread
    real = X_TEST / spread
    assert list(full.per_class) == ["a", "b", "c"]
    for label, rows in full.per_class.items():
        own = Y_TEST == label
        assert rows["real"]["share"] == pytest.approx(own.mean())
        shares = precision_recall_density_coverage(real[own], drawn[own])
        expected = {
            **shares._asdict(),
            "share": rows["generated"]["share"],
            "frechet_distance": frechet_distance(real[own], drawn[own]),
        }
        assert rows["generated"] == pytest.approx(expected)
    total = sum(rows["generated"]["share"] for rows in full.per_class.values())
    assert total == pytest.approx(1.0)


def test_a_perfect_generator_gets_what_real_rows_get():
    unseen = rows_and_labels(150, seed=3)[0]
    figures = evaluate_generator(
        Given(unseen).fit(X_TRAIN), X_TEST, X_train=X_TRAIN
    ).figures
    generated, real = figures["generated"], figures["real"]
    assert "reconstruction" not in figures
    for name in ("precision", "recall", "coverage", "two_sample_accuracy"):
        assert generated[name] == pytest.approx(real[name], abs=0.15), name
    for name in ("near_copy_share", "membership_auc"):
        # the standard error of a share of 150 rows is at most .04
        assert generated[name] == pytest.approx(real[name], abs=0.16), name
    for name in ("frechet_distance", "energy_distance", "sliced_wasserstein"):
        assert generated[name] < 4 * real[name], name
    assert generated["two_sample_p_value"] > 1e-3
    assert generated["density"] == pytest.approx(1.0, abs=0.25)


def test_a_generator_that_is_far_off_is_bad_in_every_figure():
    unseen = rows_and_labels(150, seed=3)[0]
    figures = evaluate_generator(
        Given(unseen, shift=30.0).fit(X_TRAIN), X_TEST, X_train=X_TRAIN
    ).figures
    generated, real = figures["generated"], figures["real"]
    for name in ("precision", "recall", "density", "coverage"):
        assert generated[name] == 0.0
    distances = (
        "frechet_distance",
        "kernel_distance",
        "energy_distance",
        "sliced_wasserstein",
    )
    for name in distances:
        assert generated[name] > 20 * abs(real[name]), name
    assert generated["two_sample_accuracy"] > 0.98
    assert generated["two_sample_p_value"] < 1e-20


def test_a_generator_that_repeats_training_rows_is_found_out():
    figures = evaluate_generator(
        Given(X_TRAIN).fit(X_TRAIN), X_TEST, X_train=X_TRAIN
    ).figures
    assert figures["generated"]["near_copy_share"] == 1.0
    assert figures["generated"]["membership_auc"] > 0.8
    assert figures["real"]["near_copy_share"] < 0.7
    assert figures["real"]["membership_auc"] == pytest.approx(0.5, abs=0.15)


def test_labels_that_are_mixed_up_are_found_out(full):
    swapped = evaluate_generator(
        ByLabel(swapped=True).fit(X_TRAIN, Y_TRAIN),
        X_TEST,
        X_train=X_TRAIN,
        y=Y_TEST,
        y_train=Y_TRAIN,
    ).figures["generated"]
    good = full.figures["generated"]
    assert good["label_agreement"] > 0.95
    assert good["downstream_ratio"] > 0.95
    # "b", in the middle, is the only class that stays where it is
    assert swapped["label_agreement"] == pytest.approx(np.mean(Y_TEST == "b"), abs=0.02)
    assert swapped["downstream_ratio"] < 0.5


def test_a_class_that_is_missing_is_found_out_without_labels_of_generated_rows():
    unseen, y_unseen = rows_and_labels(400, seed=3)
    generator = Given(unseen[y_unseen != "c"]).fit(X_TRAIN)
    report = evaluate_generator(generator, X_TEST, y=Y_TEST)
    assert report.figures["generated"]["modes_covered"] == pytest.approx(2 / 3)
    assert report.figures["generated"]["mode_divergence"] > 0.1
    assert report.per_class["c"] == {
        "generated": {"share": 0.0},
        "real": {"share": pytest.approx(np.mean(Y_TEST == "c"))},
    }
    # nothing was asked for by label, and the judge was trained on these rows
    assert "label_agreement" not in report.figures["generated"]
    assert "modes_covered" not in report.figures["halves"]


def test_without_training_rows_two_halves_are_compared(pipe):
    report = evaluate_generator(pipe, X_TEST)
    assert list(report.figures) == ["generated", "reconstruction", "halves"]
    assert report.n_samples["halves"] == 75
    assert report.figures["halves"]["coverage"] > 0.8
    assert "near_copy_share" not in report.figures["generated"]
    with_train = evaluate_generator(pipe, X_TEST, X_train=X_TRAIN)
    for name, value in report.figures["generated"].items():
        assert with_train.figures["generated"][name] == value
    few = evaluate_generator(pipe, X_TEST[:11])  # halves of 5 have no 5th neighbour
    assert list(few.figures) == ["generated", "reconstruction"]


def test_without_labels_of_training_rows_the_held_out_ones_teach(conditional, full):
    report = evaluate_generator(conditional, X_TEST, X_train=X_TRAIN, y=Y_TEST)
    generated = report.figures["generated"]
    spread = X_TEST.std(axis=0)
    drawn = conditional.sample(150, y=Y_TEST, random_state=0) / spread
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(X_TEST / spread, Y_TEST)
    assert generated["label_agreement"] == np.mean(model.predict(drawn) == Y_TEST)
    assert "downstream_accuracy" not in generated
    assert "label_agreement" not in report.figures["real"]
    for label, rows in report.per_class.items():
        assert (
            rows["generated"]["recall"] == full.per_class[label]["generated"]["recall"]
        )
        assert list(rows["real"]) == ["share"]


def test_fewer_training_rows_are_all_taken(conditional):
    few, y_few = X_TRAIN[:60], Y_TRAIN[:60]
    report = evaluate_generator(
        conditional, X_TEST, X_train=few, y=Y_TEST, y_train=y_few
    )
    assert report.n_samples["real"] == 60
    spread = X_TEST.std(axis=0)
    real, train = X_TEST / spread, few / spread
    expected = frechet_distance(real, train)
    assert report.figures["real"]["frechet_distance"] == pytest.approx(expected)
    for label, rows in report.per_class.items():
        expected = frechet_distance(real[Y_TEST == label], train[y_few == label])
        assert rows["real"]["frechet_distance"] == pytest.approx(expected)


def test_images_reach_features_as_images_and_keep_their_unit(pipe):
    seen = []

    def pooled(images):
        seen.append(images.shape)
        return images.mean(axis=1)

    flat = FunctionTransformer(
        lambda X: X.reshape(len(X), -1), inverse_func=lambda X: X.reshape(-1, 3, 2)
    )
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 80, 3, 2))
    model = make_pipeline(flat, PCA(3), GaussianMixture(random_state=0)).fit(train)
    report = evaluate_generator(model, test, X_train=train, features=pooled)
    assert set(seen) == {(80, 3, 2)}
    assert report.units == "2 features as they are"
    drawn = sample_from(model, 80, random_state=0)
    expected = frechet_distance(test.mean(axis=1), drawn.mean(axis=1))
    assert report.figures["generated"]["frechet_distance"] == pytest.approx(expected)
    assert report.examples["generated"].shape == (12, 3, 2)
    plain = evaluate_generator(model, test)
    assert plain.units == "6 columns as they are"
    expected = energy_distance(test, drawn)
    assert plain.figures["generated"]["energy_distance"] == pytest.approx(expected)
    scaled = evaluate_generator(model, test, standardize=True)
    assert scaled.units == "6 columns divided by their spread over X_test"


def test_examples_stand_beside_their_nearest_rows(pipe):
    report = evaluate_generator(pipe, X_TEST, standardize=False)
    distances = np.linalg.norm(report.examples["generated"][:, None] - X_TEST, axis=2)
    nearest = X_TEST[distances.argmin(axis=1)]
    np.testing.assert_array_equal(report.examples["nearest"], nearest)
    assert report.plane["real"].shape == (150, 2)
    assert report.plane["generated"].shape == (150, 2)


def test_frames_are_judged_as_arrays_are(pipe):
    def frame(X):
        return pd.DataFrame(X, columns=list("uvw"))

    mixture = GaussianMixture(3, random_state=0)
    model = make_pipeline(StandardScaler(), PCA(2), mixture).fit(frame(X_TRAIN))
    framed = evaluate_generator(
        model,
        frame(X_TEST),
        X_train=frame(X_TRAIN),
        y=pd.Series(Y_TEST),
        y_train=pd.Series(Y_TRAIN),
    )
    plain = evaluate_generator(pipe, X_TEST, X_train=X_TRAIN, y=Y_TEST, y_train=Y_TRAIN)
    for row, figures in plain.figures.items():
        assert framed.figures[row] == pytest.approx(figures)


def test_the_seed_decides_and_global_streams_are_left_alone(pipe):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (
        evaluate_generator(pipe, X_TEST[:60], X_train=X_TRAIN, random_state=seed)
        for seed in (1, 1, np.random.RandomState(2))
    )
    assert first == again
    assert first != other
    assert first.figures["generated"] != other.figures["generated"]
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_classifier_of_the_user_judges(conditional):
    class Guess(BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    figures = evaluate_generator(
        conditional,
        X_TEST,
        X_train=X_TRAIN,
        y=Y_TEST,
        y_train=Y_TRAIN,
        classifier=Guess(),
    ).figures
    for row in ("generated", "real"):
        assert figures[row]["modes_covered"] == pytest.approx(1 / 3)
        assert figures[row]["label_agreement"] == np.mean(Y_TEST == "a")
        assert figures[row]["downstream_accuracy"] == np.mean(Y_TEST == "a")


def test_small_classes_have_shares_alone(conditional):
    kept = np.r_[np.flatnonzero(Y_TEST == "a"), np.flatnonzero(Y_TEST == "b")[:4]]
    report = evaluate_generator(conditional, X_TEST[kept], y=Y_TEST[kept])
    assert set(report.per_class["b"]["generated"]) == {"share", "frechet_distance"}
    assert "coverage" in report.per_class["a"]["generated"]
    two = np.delete(kept, [-1])  # not more rows than columns
    report = evaluate_generator(conditional, X_TEST[two], y=Y_TEST[two])
    assert set(report.per_class["b"]["generated"]) == {"share"}


def test_classes_that_are_not_held_out_are_no_trouble(conditional):
    kept = Y_TEST != "c"
    report = evaluate_generator(
        conditional, X_TEST[kept], X_train=X_TRAIN, y=Y_TEST[kept], y_train=Y_TRAIN
    )
    assert list(report.per_class) == ["a", "b"]
    assert report.figures["generated"]["modes_covered"] == 1.0


def test_a_choice_of_rows_leaves_no_class_out():
    labels = np.array(["rare"] + 99 * ["common"])
    for seed in range(10):
        chosen = some_of_each(labels, 5, seed)
        assert len(set(chosen)) == 5
        assert 0 in chosen
    np.testing.assert_array_equal(np.sort(some_of_each(labels, 100, 0)), range(100))


def bad(value):
    return lambda X: np.full((len(X), 2), value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X_test": X_TEST[:5]}, "more than n_neighbors=5 rows, got 5"),
        ({"X_train": X_TRAIN[:5]}, "X_train must have more than n_neighbors=5 rows"),
        ({"X_test": X_TEST[:, 0]}, "X_test must be rows of data"),
        ({"X_test": X_TEST[:, :2]}, r"as many values a row as .* draws, 3, got 2"),
        ({"X_train": X_TRAIN[:, :2]}, "as many values a row as X_train, 2, got 3"),
        ({"y": Y_TEST[:9]}, "one label for each of the 150 rows of X_test, got 9"),
        ({"y": np.full(150, "a")}, r"at least 2 classes, got \['a'\]"),
        ({"y": np.linspace(0, 1, 150)}, "continuous"),
        ({"y": np.array(["a", "d"] * 75)}, r"was fitted on, .*got \['d'\]"),
        ({"y_train": Y_TRAIN}, "y_train needs X_train and y"),
        (
            {"X_train": X_TRAIN, "y": Y_TEST, "y_train": np.array(["a", "b"] * 100)},
            r"labels that y_train has, \['a', 'b'\], got \['c'\]",
        ),
        ({"features": bad(np.nan)}, "features must return one finite row"),
        ({"features": lambda X: np.ones((3, 2))}, "3 rows for 150"),
        ({"n_neighbors": 0}, "n_neighbors must be an int >= 1"),
        ({"random_state": -1}, "random_state must be"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message, conditional):
    with pytest.raises(ValueError, match=message):
        evaluate_generator(conditional, **{"X_test": X_TEST, **arguments})


def test_what_is_no_fitted_generator_is_refused_before_any_work():
    def never(X):
        raise AssertionError("no work was to be done")

    with pytest.raises(NotFittedError):
        evaluate_generator(KernelDensity(), X_TEST, features=never)
    with pytest.raises(AttributeError, match="needs a last step that draws"):
        evaluate_generator(PCA(2).fit(X_TRAIN), X_TEST, features=never)
    kde = KernelDensity().fit(X_TRAIN)
    with pytest.raises(TypeError, match="standardize must be True or False"):
        evaluate_generator(kde, X_TEST, standardize="yes")


def test_a_generator_that_collapsed_is_judged_all_the_same():
    same = np.tile(X_TEST[:1], (150, 1))
    report = evaluate_generator(
        Given(same).fit(X_TRAIN), X_TEST, X_train=X_TRAIN, y=Y_TEST, y_train=Y_TRAIN
    )
    generated = report.figures["generated"]
    assert generated["recall"] == 0.0
    assert generated["coverage"] < 0.1
    assert generated["modes_covered"] == pytest.approx(1 / 3)
    assert generated["two_sample_accuracy"] > 0.9
    json.loads(report.to_json(), parse_constant=pytest.fail)


def test_the_fewest_rows_that_will_do(conditional):
    test, train = (
        np.concatenate([np.flatnonzero(y == label)[:2] for label in CENTERS])
        for y in (Y_TEST, Y_TRAIN)
    )
    report = evaluate_generator(
        conditional,
        X_TEST[test],
        X_train=X_TRAIN[train],
        y=Y_TEST[test],
        y_train=Y_TRAIN[train],
    )
    assert report.n_samples == {"generated": 6, "real": 6}
    assert report.figures["generated"].keys() >= {"coverage", "downstream_ratio"}


def test_the_json_of_a_whole_report_has_no_nan(full):
    json.loads(full.to_json(), parse_constant=pytest.fail)
    assert set(full.seconds) >= {"sample_from", "frechet_distance", "mode_coverage"}
