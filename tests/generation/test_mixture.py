"""LatentMixture: densities by scipy and scikit-learn, numbers by BIC, exact counts."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture

from manifoldgen import LatentMixture
from manifoldgen.covariance import oas_shrinkage, shrink
from manifoldgen.generation._expectation_maximization import (
    Components,
    begin,
    climb,
    expect,
    maximize,
)
from manifoldgen.generation._whitening import whitening_axes

RNG = np.random.RandomState(0)
CENTRES = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 4.0], [0.0, 30.0, -4.0]])
Y = np.repeat([0, 1, 2], 200)
X = 0.4 * RNG.standard_normal((600, 3)) @ RNG.standard_normal((3, 3)) + CENTRES[Y]
X.setflags(write=False)


def by_scipy(mixture, rows):
    """Return log-densities by the public attributes alone."""
    each = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(rows)
        for weight, mean, covariance in zip(
            mixture.weights_, mixture.means_, mixture.covariances_, strict=True
        )
    ]
    return logsumexp(each, axis=0)


# ------------------------------------------------------------------- the steps of EM


def test_the_shares_of_rows_are_those_of_bayes():
    rows = RNG.standard_normal((5000, 2))  # more than a block
    covariances = np.array([[[1.0, 0.3], [0.3, 0.5]], [[2.0, 0.0], [0.0, 2.0]]])
    components = Components(
        np.array([0.3, 0.7]), np.array([[1.0, 0.0], [0, 0]]), covariances
    )
    joint = np.transpose(
        [
            weight * multivariate_normal(mean, covariance).pdf(rows)
            for weight, mean, covariance in zip(
                components.weights, components.means, covariances, strict=True
            )
        ]
    )
    shares = joint / joint.sum(axis=1, keepdims=True)
    sums = expect(rows, components)
    assert sums.log_likelihood == pytest.approx(np.log(joint.sum(axis=1)).sum())
    assert_allclose(sums.counts, shares.sum(axis=0))
    for k in range(2):
        difference = rows - components.means[k]
        assert_allclose(sums.totals[k], shares[:, k] @ difference, atol=1e-4)
        scatter = (shares[:, [k]] * difference).T @ difference
        assert_allclose(sums.scatters[k], scatter, atol=1e-4)


def test_regularized_covariances_are_those_of_the_formula():
    rows = RNG.standard_normal((50, 2))
    means = np.array([[-0.5, 0.0], [0.5, 0.0]])
    start = Components(np.full(2, 0.5), means, np.repeat(np.eye(2)[None], 2, axis=0))
    sums = expect(rows, start)
    plain = maximize(sums, means, "full", 0.0)
    steadied = maximize(sums, means, "full", 4.0)
    floor = 1e-9 * np.eye(2)
    scatters = [
        n * (c - floor) for n, c in zip(sums.counts, plain.covariances, strict=True)
    ]
    pooled = (sum(scatters) + 4.0 * np.eye(2)) / 54.0
    for n, scatter, found in zip(
        sums.counts, scatters, steadied.covariances, strict=True
    ):
        assert_allclose(found, (scatter + 4.0 * pooled) / (n + 4.0) + floor)
    assert_allclose(steadied.means, plain.means)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_steps_lead_to_where_those_of_scikit_learn_lead(kind):
    rows = np.vstack([RNG.standard_normal((150, 2)), RNG.standard_normal((90, 2)) + 3])
    start = begin(rows, 2, kind, 0.0, np.ones(2), np.random.RandomState(0))
    ours = climb(rows, start, kind, 0.0, 500, 1e-9)
    theirs = GaussianMixture(
        2, covariance_type=kind, tol=1e-9, max_iter=500, means_init=start.means
    ).fit(rows)
    order = ours.components.weights.argsort()
    assert ours.converged
    assert_allclose(ours.components.weights[order], np.sort(theirs.weights_), atol=1e-3)
    assert ours.log_likelihood / len(rows) == pytest.approx(
        theirs.score(rows), abs=1e-5
    )


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_the_criterion_is_that_of_scikit_learn(kind):
    rows, _ = np.linalg.qr(RNG.standard_normal((300, 2)))  # white, along the axes
    rows = 17.0 * (rows - rows.mean(axis=0))
    found = LatentMixture(
        covariance_type=kind, max_components=1, regularization=0.0, random_state=0
    ).fit(rows)
    theirs = GaussianMixture(1, covariance_type=kind).fit(rows)
    assert found.bic_[1] == pytest.approx(theirs.bic(rows), rel=1e-3)


# -------------------------------------------------------------------------- densities


def test_the_log_density_is_that_of_the_public_components():
    mixture = LatentMixture(random_state=0).fit(X)
    assert_allclose(mixture.score_samples(X), by_scipy(mixture, X), rtol=1e-9)
    assert mixture.score(X) == mixture.score_samples(X).mean()


def test_one_gaussian_is_the_closed_form():
    mixture = LatentMixture(1, regularization=0.0).fit(X)
    expected = multivariate_normal(X.mean(0), np.cov(X.T, bias=True)).logpdf(X)
    assert_allclose(mixture.score_samples(X), expected, atol=1e-2)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_density_integrates_to_one(conditional):
    mixture = LatentMixture(conditional=conditional, random_state=0)
    mixture.fit(X[:, :2], Y)
    axes = [np.linspace(low, high, 400) for low, high in ((-15, 25), (-20, 50))]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    total = np.exp(mixture.score_samples(grid)).sum() * cell
    assert total == pytest.approx(1.0, abs=1e-3)


def test_other_units_shift_the_density_and_scale_the_samples():
    small, large = (LatentMixture(random_state=0).fit(u * X) for u in (1.0, 1024.0))
    shift = 3 * np.log(1024.0)
    assert_allclose(
        large.score_samples(1024 * X) + shift, small.score_samples(X), rtol=1e-9
    )
    assert_allclose(
        large.sample(50, random_state=0), 1024 * small.sample(50, random_state=0)
    )
    assert_allclose(large.bic_[3], small.bic_[3] + 2 * len(X) * shift, rtol=1e-9)


def test_a_conditional_density_is_that_of_all_classes():
    mixture = LatentMixture(1, conditional=True, regularization=0.0).fit(X, Y)
    each = [
        LatentMixture(1, random_state=0, regularization=0.0).fit(X[Y == label])
        for label in range(3)
    ]
    by_label = [np.log(1 / 3) + part.score_samples(X) for part in each]
    assert_allclose(mixture.score_samples(X), logsumexp(by_label, axis=0), atol=1e-2)
    assert_allclose(mixture.score_samples(X), by_scipy(mixture, X), rtol=1e-9)
    assert mixture.weights_.sum() == pytest.approx(1.0)


def test_a_row_off_a_constant_column_is_very_unlikely():
    rows = np.insert(X, 1, 7.0, axis=1)
    mixture = LatentMixture(random_state=0).fit(rows)
    plain = LatentMixture(random_state=0).fit(X)
    assert_allclose(mixture.score_samples(rows), plain.score_samples(X))
    assert -np.inf < mixture.score(rows + np.array([0, 1e-3, 0, 0])) < -1e5
    assert (mixture.sample(100)[:, 1] == 7.0).all()
    assert not mixture.covariances_[:, 1].any()


# ------------------------------------------------------------------ how many Gaussians


def test_three_groups_are_found_to_be_three():
    mixture = LatentMixture(random_state=0).fit(X)
    assert mixture.n_components_ == min(mixture.bic_, key=mixture.bic_.get) == 3
    assert_allclose(np.sort(mixture.weights_), np.full(3, 1 / 3), atol=1e-3)
    order = mixture.means_[:, :2].sum(axis=1).argsort()
    assert_allclose(mixture.means_[order], CENTRES, atol=0.5)


def test_groups_that_differ_in_a_narrow_direction_are_found():
    shifts = np.repeat([[0.0], [9.0], [99.0]], 200, axis=0)
    rows = np.random.RandomState(0).standard_normal((600, 2)) + shifts
    mixture = LatentMixture(random_state=0).fit(rows)
    assert_allclose(np.sort(mixture.means_[:, 0]), [0, 9, 99], atol=0.3)


def test_numbers_that_were_tried():
    rows = RNG.standard_normal((400, 2))
    mixture = LatentMixture(random_state=0).fit(rows)
    assert mixture.n_components_ == 1
    assert list(mixture.bic_) == [1, 2, 4, 8]
    capped = LatentMixture(max_components=3, random_state=0).fit(rows)
    assert list(capped.bic_) == [1, 2, 3]
    given = LatentMixture(5, random_state=0).fit(rows)
    assert given.n_components_ == len(given.means_) == 5
    assert given.bic_ == {}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_starts_are_no_worse():
    rows = np.vstack([RNG.standard_normal((60, 2)) + 6 * c for c in RNG.rand(12, 2)])
    scores = [
        LatentMixture(12, n_init=n, random_state=0, max_iter=20, tol=0).fit(rows)
        for n in (1, 6)
    ]
    assert scores[1].score(rows) > scores[0].score(rows) - 0.02
    assert scores[1].weights_.shape == (12,)


def test_a_warning_where_steps_end_too_soon():
    with pytest.warns(ConvergenceWarning, match="max_iter=1 steps.*Raise max_iter"):
        LatentMixture(8, max_iter=1, tol=0.0, random_state=0).fit(X)


# ---------------------------------------------------------------------------- samples


def test_samples_have_the_moments_of_the_rows():
    drawn = LatentMixture(random_state=0).fit(X).sample(50_000, random_state=0)
    spread = X.std(axis=0)
    assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.03 * spread.max())
    assert_allclose(np.corrcoef(drawn.T), np.corrcoef(X.T), atol=0.02)
    labels = np.abs(drawn[:, None] - CENTRES).sum(axis=2).argmin(axis=1)
    assert_allclose(np.bincount(labels[:2000]) / 2000, np.full(3, 1 / 3), atol=0.04)


def test_labels_are_drawn_as_asked_and_by_frequency():
    names = np.array(["nought", "one", "two"])[Y]
    keep = (Y != 2) | (np.arange(600) % 4 == 0)
    mixture = LatentMixture(conditional=True, random_state=0).fit(X[keep], names[keep])
    asked = np.array(["two", "nought", "two", "one"] * 25)
    drawn = mixture.sample(y=asked, random_state=0)
    nearest = np.abs(drawn[:, None] - CENTRES).sum(axis=2).argmin(axis=1)
    assert_array_equal(np.array(["nought", "one", "two"])[nearest], asked)
    drawn = mixture.sample(4000, random_state=0)
    nearest = np.abs(drawn[:, None] - CENTRES).sum(axis=2).argmin(axis=1)
    assert_allclose(np.bincount(nearest) / 4000, mixture.class_prior_, atol=0.03)
    assert list(mixture.bic_) == ["nought", "one", "two"]
    assert mixture.bic_["one"][1] < mixture.bic_["one"][2]


# -------------------------------------------------------------------------- bad input


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "rows",
    [
        X.astype(np.float32),
        X[:, [0, 0, 1, 1, 2]],
        np.repeat(X[:4], 9, axis=0),
        RNG.standard_normal((12, 30)),
        np.full((20, 3), 5.0),
        np.round(X).astype(int),
        X @ RNG.standard_normal((3, 8)).astype(np.float32),
        np.c_[X, X[:, 0] * (1 + 1e-7)],
    ],
    ids=[
        "float32",
        "repeated columns",
        "repeated rows",
        "wide",
        "identical",
        "integers",
        "collinear",
        "nearly collinear",
    ],
)
@pytest.mark.parametrize("regularization", [0.0, 1.0])
@pytest.mark.parametrize("n_components", [None, 4])
def test_degenerate_rows_neither_fail_nor_warn(rows, regularization, n_components):
    mixture = LatentMixture(
        n_components, regularization=regularization, tol=1e-2, random_state=0
    ).fit(rows)
    drawn = mixture.sample(200, random_state=0)
    assert np.isfinite(drawn).all()
    assert np.isfinite(mixture.score_samples(rows)).all()
    assert np.isfinite(mixture.score(rows + 1.0))
    far = np.abs(drawn - rows.mean(axis=0)).max()
    assert far <= 6 * np.abs(rows - rows.mean(axis=0)).max()


def test_two_rows_a_class():
    y = np.repeat(np.arange(50), 2)
    mixture = LatentMixture(conditional=True).fit(X[:100], y)
    assert mixture.n_components_ == 50
    assert mixture.sample(y=[0, 49]).shape == (2, 3)


def test_axes_of_variance_one_and_back():
    units = RNG.standard_normal((500, 3)) @ [[1, 1, 0], [0, 0.1, 0], [0, 0, 1]]
    units = (units - units.mean(axis=0)) / units.std(axis=0)
    forward, back = whitening_axes(units)
    covariance = np.cov(units.T, bias=True)
    shrunk = shrink(covariance, oas_shrinkage(covariance, 500))
    assert_allclose(forward.T @ shrunk @ forward, np.eye(3), atol=1e-9)
    assert_allclose(forward @ back, np.eye(3), atol=1e-12)
    forward, back = whitening_axes(units[:, [0, 0]])
    assert_allclose(forward @ back, np.eye(2), atol=1e-9)


@pytest.mark.filterwarnings("ignore:The number of unique classes")
@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "needs labels: call fit"),
        (np.where(np.arange(600) == 4, 9, Y), "2 rows of each class at least.*y=9"),
        (np.arange(600), "2 rows of each class.*measured, not named"),
        (np.linspace(0, 1, 600), "Unknown label type"),
    ],
)
def test_labels_that_cannot_be_learned(y, match):
    mixture = LatentMixture(conditional=True)
    with pytest.raises(ValueError, match=match):
        mixture.fit(X, y)
    assert set(vars(mixture)) == set(mixture.get_params())


def test_labels_that_cannot_be_drawn():
    mixture = LatentMixture(1, conditional=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"labels that fit saw, \[0, 1, 2\], got \[7"):
        mixture.sample(y=7)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        mixture.sample(0)
    with pytest.raises(ValueError, match=r"y=1 was asked of.*Set conditional=True"):
        LatentMixture(1).fit(X).sample(y=1)
    with pytest.raises(NotFittedError):
        LatentMixture().score_samples(X)


INVALID = [
    ("n_components", 0, ValueError),
    ("n_components", 601, ValueError),
    ("n_components", 2.0, TypeError),
    ("covariance_type", "round", ValueError),
    ("max_components", 0, ValueError),
    ("regularization", -1.0, ValueError),
    ("conditional", "yes", TypeError),
    ("n_init", 0, ValueError),
    ("max_iter", 0, ValueError),
    ("tol", -1.0, ValueError),
    ("random_state", "0", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), INVALID)
def test_invalid_parameters_say_name_rule_and_value(name, value, error):
    mixture = LatentMixture(**{name: value})
    with pytest.raises(error, match=f"{name} must .*got {value!r}"):
        mixture.fit(X, Y)
    assert set(vars(mixture)) == set(mixture.get_params())


def test_every_parameter_has_an_invalid_value_here():
    assert {name for name, *_ in INVALID} == set(LatentMixture().get_params())


def test_a_mixture_fits_wide_rows_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture = LatentMixture(random_state=0).fit(RNG.standard_normal((90, 200)))
    assert mixture.n_components_ == 1
    assert mixture.sample(3).shape == (3, 200)
