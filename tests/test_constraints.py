"""What estimators make is held to a distance, and the distance is what it says."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.decomposition import PCA, KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from manifoldgen import (
    AutoencoderManifold,
    ClassifierFeatures,
    LatentFlowMatching,
    LatentGAN,
    MahalanobisConstraint,
    feature_module,
    load,
    make_generative_pipeline,
    save,
)
from manifoldgen.exceptions import ConstraintWarning
from manifoldgen.manifold import AutoencoderProgram

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
)

X, Y = load_iris(return_X_y=True)
DIGITS = load_digits().data[:300]
TINY = {"hidden_sizes": (12,), "max_epochs": 4, "random_state": 0}


def own_loss(output, target):
    return (output - target).square().mean()


def tight(**parameters):
    """Return a constraint that generators break at first."""
    return MahalanobisConstraint(**{"epsilon": 0.5, "tolerance": 0.1, **parameters})


HELD = {
    "autoencoder": AutoencoderManifold(2, constraint=tight(), **TINY),
    "own loss": AutoencoderManifold(2, constraint=tight(), loss=own_loss, **TINY),
    "gan": LatentGAN(constraint=tight(form="hinge"), **TINY),
    "conditional hinge gan": LatentGAN(
        constraint=tight(class_conditional=True), loss="hinge", conditional=True, **TINY
    ),
    "flow": LatentFlowMatching(
        constraint=tight(two_sided=True), n_steps=4, batch_size=64, **TINY
    ),
}
QUIET = pytest.mark.filterwarnings("ignore::manifoldgen.exceptions.ConstraintWarning")


# ---- features -----------------------------------------------------------------------


class Doubled:
    """Anything with `to_module` will do."""

    def transform(self, rows):
        return 2.0 * rows

    def to_module(self):
        class Twice(nn.Module):
            def forward(self, x):
                return 2.0 * x

        return Twice()


FEATURES = {
    "scaler": StandardScaler(),
    "centred": StandardScaler(with_std=False),
    "scaled": StandardScaler(with_mean=False),
    "interval": MinMaxScaler((-1, 2)),
    "clipped": MinMaxScaler(clip=True),
    "pca": PCA(2),
    "whitened pca": PCA(3, whiten=True),
    "pipeline": make_pipeline(StandardScaler(), "passthrough", PCA(2)),
    "encoder": AutoencoderManifold(2, whiten=True, **TINY),
    "pipeline of an encoder": make_pipeline(
        StandardScaler(), AutoencoderManifold(2, **TINY)
    ),
}


@pytest.mark.parametrize("name", FEATURES)
def test_the_module_of_features_does_what_transform_does(name):
    fitted = clone(FEATURES[name]).fit(X[:100])
    module = feature_module(FrozenEstimator(fitted))
    beyond = 1.5 * X  # some of it outside the range of fit
    found = module(torch.from_numpy(beyond))
    np.testing.assert_allclose(found, fitted.transform(beyond), rtol=1e-4, atol=1e-5)
    rows = torch.from_numpy(X[:3]).requires_grad_()
    module(rows).sum().backward()
    assert (rows.grad != 0).any()
    assert not any(p.requires_grad for p in module.parameters())


def test_rows_themselves_and_modules_of_others():
    rows = torch.from_numpy(X)
    assert torch.equal(feature_module(None)(rows), rows)
    assert torch.equal(feature_module("passthrough")(rows), rows)
    assert torch.equal(feature_module(Doubled())(rows), 2 * rows)


@pytest.mark.parametrize("features", [KernelPCA(2), LinearDiscriminantAnalysis(), 3])
def test_features_without_slopes_are_refused_by_name(features):
    with pytest.raises(TypeError, match="StandardScaler, MinMaxScaler or PCA"):
        feature_module(features)


# ---- the distance -------------------------------------------------------------------


def test_distances_are_those_of_the_fitted_law():
    held = MahalanobisConstraint(PCA(2, random_state=0), random_state=0).fit(X)
    features = held.features_.transform(X) - held.location_
    precision = held.whitening_ @ held.whitening_.T
    expected = np.sqrt(np.einsum("ij,jk,ik->i", features, precision, features))
    np.testing.assert_allclose(held.distances(X), expected, rtol=1e-10)
    assert held.violation_rate(X) == np.mean(expected > held.epsilon_)


@pytest.mark.parametrize(
    "covariance",
    ["oas", "ledoit_wolf", "empirical", "diagonal", "ppca", "low_rank"],
)
def test_every_covariance_gives_its_distances(covariance):
    from manifoldgen.covariance import factor, moments

    held = MahalanobisConstraint(
        covariance=covariance, calibration_fraction=0.01, random_state=0
    ).fit(X)
    # two of 150 rows are held out, which are the first of its permutation
    kept = np.sort(np.random.RandomState(0).permutation(len(X))[2:])
    found = factor(moments(X[kept], fourth=True), covariance)
    expected = np.sqrt(found.squared_distances(X))
    np.testing.assert_allclose(held.distances(X), expected, rtol=1e-6)


def test_ledoit_and_wolfs_covariance_within_classes():
    from manifoldgen.covariance import class_moments, factor

    held = MahalanobisConstraint(
        covariance="ledoit_wolf",
        class_conditional=True,
        calibration_fraction=0.01,
        random_state=0,
    ).fit(X, Y)
    kept = np.sort(np.random.RandomState(0).permutation(len(X))[2:])
    found = class_moments(X[kept], Y[kept], fourth=True)
    white = factor(found.tied, "ledoit_wolf").whitening()
    gaps = (X[:, np.newaxis] - found.means) @ white
    expected = np.sqrt((gaps**2).sum(axis=2).min(axis=1))
    np.testing.assert_allclose(held.distances(X), expected, rtol=1e-6)


def test_a_distance_that_most_rows_are_beyond_holds_nothing_and_says_so():
    with pytest.warns(ConstraintWarning, match="Set tolerance, or raise epsilon"):
        MahalanobisConstraint(epsilon=0.1, unit="distance").fit(X)


def test_the_torch_side_measures_what_distances_do():
    held = MahalanobisConstraint(
        make_pipeline(StandardScaler(), PCA(3)), class_conditional=True, random_state=0
    ).fit(X, Y)
    squared = held.hold("cpu").squared(torch.from_numpy(X))
    np.testing.assert_allclose(squared.sqrt(), held.distances(X), rtol=1e-4)
    mine = held.hold("cpu").squared(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_allclose(mine.sqrt(), held.distances(X, Y), rtol=1e-4)
    assert (held.distances(X, Y) >= held.distances(X)).all()
    at_hand = held.hold("cpu", features=nn.Identity())
    features = torch.from_numpy(held.features_.transform(X))
    np.testing.assert_allclose(at_hand.squared(features), squared, rtol=1e-4)


def test_a_row_has_one_distance_whatever_comes_with_it():
    held = MahalanobisConstraint(random_state=0).fit(X)
    alone = [held.distances(X[i : i + 1])[0] for i in range(10)]
    np.testing.assert_array_equal(held.distances(X)[:10], alone)


def test_epsilon_is_what_its_unit_says():
    rows = np.random.RandomState(0).standard_normal((500, 3))
    fit = {
        unit: MahalanobisConstraint(epsilon=epsilon, unit=unit, random_state=0).fit(
            rows
        )
        for unit, epsilon in (("quantile", 0.9), ("pvalue", 0.1), ("distance", 2.5))
    }
    distances = fit["quantile"].calibration_distances_
    assert len(distances) == 100
    assert fit["quantile"].epsilon_ == np.quantile(distances, 0.9)
    assert fit["quantile"].tolerance_ == pytest.approx(0.1)
    # p = (1 + number at least as far) / 101 <= .1 from the tenth farthest on
    assert fit["pvalue"].epsilon_ == distances[-10]
    assert fit["pvalue"].tolerance_ == 0.1
    assert fit["distance"].epsilon_ == 2.5
    beyond = (distances > 2.5).sum()
    assert fit["distance"].tolerance_ == (beyond + 1) / 102
    assert tight().fit(rows).tolerance_ == 0.1


def test_epsilon_is_not_optimistic_where_columns_are_many():
    rng = np.random.RandomState(0)
    rows, fresh = rng.standard_normal((200, 60)), rng.standard_normal((2000, 60))
    held = MahalanobisConstraint(
        epsilon=0.8, covariance="empirical", calibration_fraction=0.5, random_state=0
    ).fit(rows)
    assert held.violation_rate(fresh) == pytest.approx(0.2, abs=0.1)
    known = np.setdiff1d(
        np.arange(200), np.random.RandomState(0).permutation(200)[:100]
    )
    assert held.violation_rate(rows[known]) < 0.02


def test_labels_reach_features_that_need_them_and_no_others():
    class Needy(StandardScaler):
        def fit(self, X, y=None):
            assert y is not None
            return super().fit(X)

        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.target_tags.required = True
            return tags

    class Shy(StandardScaler):
        def fit(self, X, y=None):
            assert y is None
            return super().fit(X)

    MahalanobisConstraint(Needy()).fit(X, Y)
    MahalanobisConstraint(Shy()).fit(X, Y)


def test_features_are_cloned_seeded_and_fitted_unless_frozen():
    pca = PCA(2, svd_solver="randomized")
    one, other = (MahalanobisConstraint(pca, random_state=3).fit(X) for _ in range(2))
    assert not hasattr(pca, "components_")
    np.testing.assert_array_equal(
        one.features_.components_, other.features_.components_
    )
    assert isinstance(one.features_.random_state, int)
    frozen = FrozenEstimator(PCA(2).fit(X[:50]))
    assert MahalanobisConstraint(frozen).fit(X).features_ is frozen


def test_images_tell_features_their_shape():
    encoder = AutoencoderManifold(2, architecture="conv", channels=(2,), **TINY)
    held = MahalanobisConstraint(encoder).fit(DIGITS.reshape(-1, 8, 8))
    assert held.features_.image_shape == (1, 8, 8)
    assert held.distances(DIGITS).shape == (300,)


# ---- what is held -------------------------------------------------------------------


@QUIET
@pytest.mark.parametrize("name", HELD)
def test_a_held_estimator_keeps_the_contracts(name, tmp_path):
    estimator = clone(HELD[name])
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, other = clone(estimator).fit(X, Y), clone(estimator).fit(X, Y)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    for figure in ("violation", "multiplier", "constraint", "validation_violation"):
        assert len(one.history_[figure]) == one.n_epochs_
        np.testing.assert_array_equal(one.history_[figure], other.history_[figure])
    assert one.constraint_.multiplier_ >= 0.0
    assert not hasattr(estimator.constraint, "epsilon_")
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert_same(again, one)
    save(one, tmp_path / "held")
    assert_same(load(tmp_path / "held", trusted=[own_loss]), one)
    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        repr(one)


def assert_same(one, other):
    assert one.constraint_.epsilon_ == other.constraint_.epsilon_
    np.testing.assert_array_equal(
        one.constraint_.distances(X), other.constraint_.distances(X)
    )
    if hasattr(one, "transform"):
        np.testing.assert_array_equal(one.transform(X), other.transform(X))
    else:
        np.testing.assert_array_equal(
            one.sample(5, random_state=0), other.sample(5, random_state=0)
        )


@pytest.mark.parametrize(
    "generator",
    [
        LatentGAN(hidden_sizes=(32, 32), max_epochs=60, random_state=0),
        LatentFlowMatching(
            hidden_sizes=(32, 32),
            max_epochs=60,
            batch_size=128,
            n_steps=6,
            random_state=0,
        ),
    ],
    ids=["gan", "flow"],
)
def test_samples_keep_a_constraint_that_they_would_break(generator):
    rows = np.random.RandomState(0).standard_normal((400, 3)) @ np.diag([1, 5, 0.1])
    held = tight(epsilon=0.6, tolerance=0.1, step=0.1, covariance="empirical")
    free = clone(generator).fit(rows)
    kept = clone(generator).set_params(constraint=held).fit(rows)
    measure = kept.constraint_.violation_rate
    assert measure(free.sample(2000, random_state=0)) > 0.25
    samples = kept.sample(2000, random_state=0)
    assert measure(samples) < 0.13
    # the columns keep their correlations and most of their spread
    assert (samples.std(axis=0) > 0.5 * rows.std(axis=0)).all()
    assert kept.history_["multiplier"].max() > 0.0
    best = kept.history_["validation_infeasibility"]
    assert best[kept.best_epoch_ - 1] == best.min()


def test_rows_decoded_from_new_codes_keep_a_constraint_that_they_would_break():
    manifold = AutoencoderManifold(
        6, hidden_sizes=(48,), max_epochs=25, learning_rate=4e-3, batch_size=32
    ).set_params(random_state=0)
    free = clone(manifold).set_params(constraint=tight(epsilon=0.3, multiplier=0.0))
    kept = clone(manifold).set_params(constraint=tight(epsilon=0.3, tolerance=0.05))
    rng = np.random.RandomState(0)
    one, other = rng.permutation(300), rng.permutation(300)
    rates = []
    for fitted in (free.fit(DIGITS), kept.fit(DIGITS)):
        Z = fitted.transform(DIGITS)
        made = fitted.inverse_transform(Z + 0.3 * (Z[one] - Z[other]))
        rates.append(fitted.constraint_.violation_rate(made))
    assert rates[0] > 0.12
    assert rates[1] < 0.06
    assert kept.score(DIGITS) > 0.5


def test_written_out_passes_and_autograd_hold_alike(monkeypatch):
    one = clone(HELD["autoencoder"]).fit(DIGITS)
    monkeypatch.setattr(AutoencoderProgram, "_written_out", lambda self: None)
    other = clone(HELD["autoencoder"]).fit(DIGITS)
    for figure in ("violation", "constraint", "loss", "multiplier"):
        np.testing.assert_allclose(
            one.history_[figure], other.history_[figure], rtol=1e-4, atol=1e-6
        )
    assert one.history_["multiplier"].any()


def test_an_unreachable_epsilon_warns_of_the_least_and_keeps_it():
    held = MahalanobisConstraint(epsilon=1e-3, unit="distance", tolerance=0.05)
    gan = LatentGAN(constraint=held, **TINY)
    with pytest.warns(ConstraintWarning, match="at best 0.95 of the rows.*are within"):
        gan.fit(X)
    infeasibility = gan.history_["validation_infeasibility"]
    assert infeasibility[gan.best_epoch_ - 1] == infeasibility.min()
    # where all rows are beyond, the nearest epoch is still told from the others
    assert len(np.unique(infeasibility)) == len(infeasibility)
    reach = gan.history_["validation_reach"]
    np.testing.assert_allclose(infeasibility, reach / 1e-3 - 1, rtol=1e-4)


def test_an_unreachable_mean_is_named_as_such():
    held = MahalanobisConstraint(
        epsilon=1e-3, unit="distance", tolerance=0.05, form="mean"
    )
    with pytest.warns(ConstraintWarning, match="at best the root mean square distance"):
        LatentGAN(constraint=held, **TINY).fit(X)


@QUIET
def test_a_fixed_multiplier_is_kept_and_the_epoch_is_that_of_the_lowest_loss():
    gan = LatentGAN(constraint=tight(multiplier=2.0), **TINY).fit(X)
    assert gan.constraint_.multiplier_ == 2.0
    assert set(gan.history_["multiplier"]) == {2.0}
    assert "validation_infeasibility" not in gan.history_


@QUIET
def test_training_goes_on_with_the_multiplier():
    warm = clone(HELD["gan"]).set_params(warm_start=True).fit(X)
    learned = warm.constraint_.multiplier_
    assert learned > 0.0
    warm.set_params(max_epochs=1).fit(X)
    assert abs(warm.constraint_.multiplier_ - learned) < 0.5 * learned
    parts = clone(HELD["autoencoder"])
    parts.partial_fit(X)
    fixed, first = parts.constraint_.epsilon_, parts.constraint_.multiplier_
    kept = parts.constraint_
    parts.partial_fit(X + 1.0)
    assert parts.constraint_.epsilon_ == fixed
    assert parts.constraint_.multiplier_ != first
    assert kept.multiplier_ == first


@QUIET
@pytest.mark.parametrize("name", ["autoencoder", "gan", "flow"])
def test_a_killed_fit_resumes_bit_for_bit(name, tmp_path):
    class Kill(Exception):
        pass

    def kill(row):
        if row["epoch"] == 3:
            raise Kill

    whole = clone(HELD[name]).fit(X)
    killed = clone(HELD[name]).set_params(checkpoint=tmp_path, callbacks=[kill])
    with pytest.raises(Kill):
        killed.fit(X)
    assert not hasattr(killed, "constraint_")
    assert len(list(tmp_path.iterdir())) == 1
    resumed = killed.set_params(callbacks=None).fit(X)
    assert_same(resumed, whole)
    for figure in ("multiplier", "violation", "validation_violation"):
        np.testing.assert_array_equal(resumed.history_[figure], whole.history_[figure])


@QUIET
def test_another_frozen_extractor_is_another_fit(tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    for rows in (X[:50], X[50:]):
        frozen = FrozenEstimator(PCA(2).fit(rows))
        gan = LatentGAN(
            constraint=tight(features=frozen),
            checkpoint=tmp_path,
            callbacks=[stop],
            **{**TINY, "validation_fraction": 0.2},
        )
        with pytest.raises(KeyboardInterrupt):
            gan.fit(X)
    names = {part.features.estimator.mean_[0] for part in [gan.constraint]}
    assert len(names) == 1
    fingerprints = [
        gan.set_params(constraint=tight(features=FrozenEstimator(PCA(2).fit(rows))))
        ._open_run(None, **gan._constraint_parts(X, None))[1]
        .fingerprint
        for rows in (X[:50], X[50:])
    ]
    assert fingerprints[0] != fingerprints[1]


def test_nested_parameters_are_searched_and_shown():
    pipeline = make_generative_pipeline(
        StandardScaler(), LatentGAN(constraint=tight(tolerance=None), **TINY)
    )
    grid = {"latentgan__constraint__epsilon": [0.5, 0.9]}
    with warnings.catch_warnings(action="ignore"):
        search = GridSearchCV(pipeline, grid, cv=2).fit(X)
    assert search.best_params_["latentgan__constraint__epsilon"] in (0.5, 0.9)
    fitted = search.best_estimator_[-1]
    assert fitted.constraint_.epsilon == fitted.constraint.epsilon
    assert "MahalanobisConstraint" in repr(pipeline)
    assert clone(pipeline).get_params()["latentgan__constraint__tolerance"] is None


@QUIET
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["autoencoder", "gan", "flow"])
def test_training_at_defaults_does_not_diverge(name, seed):
    data = load_breast_cancer().data  # columns of scales from 1e-3 to 1e3
    constraint = MahalanobisConstraint(StandardScaler(), tolerance=0.01)
    estimator = clone(HELD[name]).set_params(constraint=constraint, random_state=seed)
    estimator.fit(data)
    for figure in ("loss", "violation", "multiplier", "constraint"):
        assert np.isfinite(estimator.history_[figure]).all()
    assert estimator.n_epochs_ == 4  # no epoch was taken back
    assert abs(estimator.history_["constraint"]).max() < 100.0


# ---- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"epsilon": 1.5}, ValueError, r"epsilon must be .* \(0, 1\), got 1.5. A dist"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be"),
        ({"epsilon": -1.0, "unit": "distance"}, ValueError, "epsilon must be"),
        ({"epsilon": 1.5, "unit": "pvalue"}, ValueError, "epsilon must be"),
        (
            {"epsilon": 0.01, "unit": "pvalue"},
            ValueError,
            "at least 1 / 31 for 30 held",
        ),
        ({"epsilon": "far"}, TypeError, "epsilon must be"),
        ({"unit": "metre"}, ValueError, "unit must be one of"),
        ({"form": "square"}, ValueError, "form must be one of"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be"),
        ({"tolerance": 1.0}, ValueError, "tolerance must be"),
        ({"two_sided": 1}, TypeError, "two_sided must be"),
        ({"covariance": "robust"}, ValueError, "covariance must be one of"),
        ({"class_conditional": 1}, TypeError, "class_conditional must be"),
        ({"calibration_fraction": 1.0}, ValueError, "calibration_fraction must be"),
        ({"multiplier": -1.0}, ValueError, "multiplier must be"),
        ({"penalty": -1.0}, ValueError, "penalty must be"),
        ({"step": np.nan}, ValueError, "step must be"),
        (
            {"class_conditional": True},
            ValueError,
            "class_conditional=True needs labels",
        ),
        ({"features": KernelPCA(2)}, TypeError, "slopes are not known"),
        ({"features": 3}, TypeError, "features must be None, a transformer"),
        (
            {"features": FrozenEstimator(KernelPCA(2).fit(X))},
            TypeError,
            "slopes",
        ),
    ],
)
@pytest.mark.parametrize("held", ["constraint", "gan"])
def test_bad_parameters(held, parameters, error, match):
    constraint = MahalanobisConstraint(**parameters)
    estimator = constraint
    if held == "gan":
        estimator = LatentGAN(constraint=constraint, **TINY)
    with pytest.raises(error, match=match):
        estimator.fit(X)
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize("name", ["autoencoder", "gan", "flow"])
def test_what_is_no_constraint_is_refused(name):
    estimator = clone(HELD[name]).set_params(constraint=3.0)
    with pytest.raises(TypeError, match="constraint must be None or a MahalanobisC"):
        estimator.fit(X)
    few = clone(HELD[name])
    with pytest.raises(ValueError, match="constraint needs 4 rows at least, got 3"):
        few.fit(X[:3])


def test_constant_features_are_held_or_refused():
    constant = np.hstack([X, np.ones((150, 1))])
    held = MahalanobisConstraint(random_state=0).fit(constant)
    moved = constant.copy()
    moved[:, -1] += 1.0
    assert held.violation_rate(constant) < 0.2 < 1.0 == held.violation_rate(moved)
    with pytest.raises(ValueError, match="got 3 that are all constant"):
        MahalanobisConstraint().fit(np.ones((50, 3)))


@QUIET
def test_steps_of_a_pipeline_get_what_they_need():
    images = DIGITS[:80].reshape(-1, 8, 8)
    reduced = make_pipeline(PCA(6), AutoencoderManifold(2, max_epochs=1))
    MahalanobisConstraint(reduced, random_state=0).fit(images)
    taught = make_pipeline(ClassifierFeatures(4, max_epochs=1), StandardScaler())
    held = MahalanobisConstraint(taught, random_state=0)
    held.fit(images, load_digits().target[:80])
    assert held.features_[0].image_shape_ == (1, 8, 8)


@QUIET
def test_a_law_goes_on_with_its_own_multiplier():
    manifold = AutoencoderManifold(2, max_epochs=2, random_state=0)
    manifold.set_params(constraint=MahalanobisConstraint(two_sided=True, step=0.5))
    manifold.partial_fit(X)
    first = manifold.constraint_._law_multiplier
    held = manifold.constraint_.hold("cpu")
    assert first > 0
    assert held.law_multiplier == pytest.approx(first)
    assert float(held.multiplier) == manifold.constraint_.multiplier_


def test_classes_of_a_row_each_are_too_few():
    with pytest.raises(ValueError, match="rows beside one of each class"):
        MahalanobisConstraint(class_conditional=True).fit(X[:6], range(6))
    with pytest.raises(ValueError, match="or set class_conditional=False"):
        MahalanobisConstraint(class_conditional=True).fit(X[:6], [np.nan] * 6)


def test_labels_that_do_not_fit():
    held = MahalanobisConstraint(class_conditional=True).fit(X, Y)
    with pytest.raises(ValueError, match="labels that fit saw"):
        held.distances(X[:1], [7])
    with pytest.raises(ValueError, match="knows no classes"):
        MahalanobisConstraint().fit(X).distances(X, Y)
    with pytest.raises(ValueError, match="missing"):
        MahalanobisConstraint(class_conditional=True).fit(X, [None] * 150)
