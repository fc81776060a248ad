"""Copies that were planted are found, and honest samples are not accused."""

import json

import matplotlib as mpl
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from manifoldgen import (
    MemorisationReport,
    membership_auc,
    memorisation_report,
    sample_from,
)
from manifoldgen.metrics import near_copy_share

mpl.use("agg")


def samples(seed, n=300, width=6):
    """Return training, held-out and generated rows of one distribution."""
    return np.random.default_rng(seed).normal(size=(3, n, width))


def test_figures_are_those_of_brute_force():
    train, test, drawn = samples(0, n=120)
    drawn = drawn[:90] * 0.8
    report = memorisation_report(drawn, train, test)
    assert report.n_samples == {"generated": 90, "held_out": 120, "training": 120}
    for row, rows in (("generated", drawn), ("held_out", test)):
        nearest = cdist(rows, train).min(axis=1)
        share = near_copy_share(train, rows)
        assert report.figures[row]["near_copy_share"] == share
        error = np.sqrt(share * (1 - share) / len(rows))
        assert report.figures[row]["near_copy_share_error"] == pytest.approx(error)
        np.testing.assert_allclose(report.distances[row], nearest)
        for name, q in (("q01", 0.01), ("q05", 0.05), ("q50", 0.5)):
            expected = np.quantile(nearest, q)
            assert report.figures[row][f"distance_{name}"] == pytest.approx(expected)
    generated, held_out = report.figures["generated"], report.figures["held_out"]
    for name in ("q01", "q05", "q50"):
        ratio = generated[f"distance_{name}"] / held_out[f"distance_{name}"]
        assert generated[f"ratio_{name}"] == pytest.approx(ratio)
    assert report.attack["membership_auc"] == membership_auc(train, test, drawn)


def test_a_training_row_is_judged_as_if_it_were_held_out():
    train = samples(1, n=60, width=2)[0]
    train[7] = train[30]
    report = memorisation_report(samples(1, n=60, width=2)[2], train)
    near = [
        near_copy_share(np.delete(train, k, axis=0), train[[k]])
        for k in range(len(train))
    ]
    assert report.figures["training"]["near_copy_share"] == np.mean(near)
    assert report.figures["training"]["exact_copies"] == 2.0
    among = cdist(train, train)
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(report.distances["training"], among.min(axis=1))


def test_the_closest_rows_are_counted_as_brute_force_does():
    train, test, drawn = samples(2, n=90)
    test = test[:60]
    attack = memorisation_report(drawn, train, test).attack
    to_drawn = cdist(np.vstack([train, test]), drawn).min(axis=1)
    closest = np.argsort(to_drawn)[:20]
    assert attack["n_closest"] == 20.0
    assert attack["closest_share"] == np.mean(closest < 90)
    assert attack["closest_chance"] == 0.6
    members = np.arange(np.sum(closest < 90), 21)
    expected = hypergeom.pmf(members, 150, 90, 20).sum()
    assert attack["closest_p_value"] == pytest.approx(expected)


@pytest.mark.parametrize("n_copies", [1, 5, 40])
def test_planted_copies_are_counted(n_copies):
    train, test, drawn = samples(3)
    drawn[10 : 10 + n_copies] = train[50 : 50 + n_copies]
    for dtype in (np.float64, np.float32):  # as networks return them
        report = memorisation_report(drawn.astype(dtype), train, test)
        assert report.figures["generated"]["exact_copies"] == n_copies
        assert report.copies is True
        assert f"{n_copies} of 300 generated rows equal" in report.verdict
        shown = report.examples["indices"][: min(n_copies, 8), 0]
        assert len(np.unique(shown)) == min(n_copies, 8)
        assert set(shown) <= set(range(50, 50 + n_copies))


def test_a_few_copies_that_are_noisy_are_found():
    train, test, drawn = samples(4)
    drawn[:20] = train[:20] + 1e-3
    report = memorisation_report(drawn, train, test)
    assert report.figures["generated"]["exact_copies"] == 0.0
    assert report.attack["closest_share"] == 1.0
    # an average over all training rows does not show so few
    attack = report.attack
    assert attack["membership_auc"] < 0.5 + 3 * attack["membership_auc_error"]
    assert "100% are training rows" in report.verdict


def test_a_generator_that_leans_on_its_training_rows_is_found():
    train, test, _ = samples(5)
    report = memorisation_report(KernelDensity(bandwidth=0.4).fit(train), train, test)
    assert report.figures["generated"]["exact_copies"] == 0.0
    assert "standard errors above chance" in report.verdict


def test_honest_samples_are_not_accused():
    reports = [
        memorisation_report(*(samples(seed)[k] for k in (2, 0, 1)))
        for seed in range(20)
    ]
    # each of the two tests errs once in 740
    assert not any(report.copies for report in reports)
    areas = np.array([report.attack["membership_auc"] for report in reports])
    errors = (areas - 0.5) / reports[0].attack["membership_auc_error"]
    assert 0.6 < np.std(errors) < 1.5


@pytest.mark.parametrize("kind", ["blurred", "collapsed", "far"])
def test_bad_samples_that_copy_nothing_are_not_accused(kind):
    for seed in range(5):
        train, test, drawn = samples(seed)
        drawn = {
            "blurred": 0.1 * drawn,
            "collapsed": np.tile(drawn[:1], (300, 1)),
            "far": drawn + 50.0,
        }[kind]
        assert memorisation_report(drawn, train, test).copies is False


def test_rows_that_repeat_by_nature_are_no_copies():
    rng = np.random.default_rng(0)
    train, test, drawn = rng.integers(0, 2, size=(3, 400, 6))
    report = memorisation_report(drawn, train, test)
    repeated = np.sum(cdist(drawn, train).min(axis=1) == 0)
    assert report.figures["generated"]["exact_copies"] == repeated > 300
    assert report.figures["generated"]["ratio_q01"] is None
    assert report.copies is False
    json.loads(report.to_json(), parse_constant=pytest.fail)


def test_without_held_out_rows_only_exact_copies_are_told():
    train, _, drawn = samples(6)
    report = memorisation_report(drawn, train)
    assert list(report.figures) == ["generated", "training"]
    assert report.attack == {}
    assert report.copies is None
    assert "not known without X_test" in report.verdict
    assert memorisation_report(train[:3], train).copies is True


def test_a_generator_draws_as_many_rows_as_it_learned_from():
    train, test, _ = samples(7)
    mixture = GaussianMixture(random_state=0).fit(train)
    report = memorisation_report(mixture, train, test, random_state=3)
    drawn = sample_from(mixture, 300, random_state=3)
    assert report == memorisation_report(drawn, train, test)


def test_images_frames_and_features():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    train, test, drawn = rng.integers(0, 256, (3, 40, 3, 4, 4), dtype=np.uint8)
    drawn[0] = train[9]
    report = memorisation_report(drawn, train, test, n_examples=2)
    assert report.figures["generated"]["exact_copies"] == 1.0
    assert report.examples["generated"].shape == (2, 3, 4, 4)
    assert report.examples["nearest"].shape == (2, 3, 3, 4, 4)
    np.testing.assert_array_equal(report.examples["nearest"][0, 0], train[9])
    flat = [pd.DataFrame(it.reshape(40, -1)) for it in (drawn, train, test)]
    assert memorisation_report(*flat) == report
    means = memorisation_report(
        drawn, train, test, features=lambda X: X.mean(axis=(2, 3)), n_examples=0
    )
    nearest = cdist(drawn.mean(axis=(2, 3)), train.mean(axis=(2, 3))).min(axis=1)
    np.testing.assert_allclose(means.distances["generated"], nearest, atol=1e-9)
    assert means.figures["generated"]["exact_copies"] == 1.0
    assert means.examples is None


def test_the_report_as_text_and_data(tmp_path):
    train, test, drawn = samples(8, n=50)
    drawn[0] = train[0]
    report = memorisation_report(drawn, train, test)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 88
    assert lines[0].split() == ["generated", "held", "out", "training"]
    assert lines[1].split() == ["rows", "50", "50", "50"]
    assert lines[2].split()[-3:] == ["1", "0", "0"]
    assert "0.500 ± 0.058 where nothing leaks" in str(report)  # sqrt(101 / 30000)
    assert any(it.startswith("copies: 1 of 50 generated rows equal") for it in lines)
    text = report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == text
    assert json.loads(text, parse_constant=pytest.fail) == report.to_dict()
    assert report.to_dict()["copies"] is True
    again = json.loads(text)
    again = {name: again[name] for name in ("figures", "attack", "n_samples")}
    assert MemorisationReport(**again) == report


def test_names_above_small_tiles_keep_apart():
    rng = np.random.default_rng(0)
    drawn, train = rng.random((2, 40, 64))
    display = memorisation_report(drawn, train).plot(image_shape=(8, 8))
    display.figure_.canvas.draw()
    names = display.axes_["pairs"].get_xticklabels()
    left, right = (it.get_window_extent() for it in names)
    assert right.x0 - left.x1 > 10.0  # pixels: the height of a letter


def test_the_picture_shows_pairs_and_distances():
    rng = np.random.default_rng(0)
    train, test, drawn = rng.integers(0, 256, (3, 40, 3, 4, 4), dtype=np.uint8)
    report = memorisation_report(drawn, train, test, n_examples=4)
    display = report.plot()
    assert list(display.axes_) == ["pairs", "distances"]
    assert display.pairs.generated.shape == (4, 3, 4, 4)
    assert display.pairs.value_range == (0.0, 255.0)
    tile = display.pairs.image_.get_array()[:4, :4, :3]
    shown = np.moveaxis(report.examples["generated"][0], 0, -1)
    np.testing.assert_allclose(tile, shown / 255)
    assert list(display.steps_) == ["training", "held_out", "generated"]
    for polygon in display.steps_.values():
        # up and down again at each edge of a bin: the heights are shares of rows
        assert polygon.get_xy()[1:-1:2, 1].sum() == pytest.approx(1.0)
    rows = memorisation_report(*samples(9, n=30)[[2, 0]])
    assert rows.plot().pairs.lines_ is not None
    none = memorisation_report(*samples(9, n=30)[[2, 0]], n_examples=0)
    assert list(none.plot().axes_) == ["distances"]
    read = MemorisationReport(rows.figures, rows.attack, rows.n_samples)
    with pytest.raises(ValueError, match="report must hold distances"):
        read.plot()
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"X_train": samples(0)[0][:2]}, ValueError, "minimum of 3"),
        ({"X_generated": samples(0)[2][:, :2]}, ValueError, "X_train and X_generated"),
        ({"X_test": samples(0)[1][:, :2]}, ValueError, "X_train and X_test must have"),
        ({"X_test": np.full((3, 6), np.nan)}, ValueError, "X_test contains NaN"),
        ({"X_test": samples(0)[1][:0]}, ValueError, "0 sample"),
        ({"n_examples": -1}, ValueError, "n_examples must be an int >= 0, got -1"),
        ({"features": "pixels"}, TypeError, "features must be None or a callable"),
    ],
)
def test_bad_input(arguments, error, match):
    train, test, drawn = samples(0)
    given = {"X_generated": drawn, "X_train": train, "X_test": test}
    with pytest.raises(error, match=match):
        memorisation_report(**{**given, **arguments})
