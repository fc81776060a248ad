"""A generator held to a distance: likelihoods, features, constraint, labels, inputs."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ks_2samp, multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from manifoldgen import LatentMixture, MahalanobisConstraint, MahalanobisGenerator
from manifoldgen.generation._mahalanobis_program import (
    N_PROBES,
    FeatureEncoder,
    MahalanobisProgram,
)
from manifoldgen.nn.constraints import DistanceConstraint, MahalanobisDistance
from manifoldgen.nn.likelihoods import GaussianLikelihood

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.ConstraintWarning",
)

X, Y = load_digits(return_X_y=True)
SMALL = {
    "features": PCA(6, random_state=0),
    "feature_law": LatentMixture(3),
    "hidden_sizes": (64,),
    "max_epochs": 3,
    "random_state": 0,
}
TIGHT = {"epsilon": 0.8, "tolerance": 0.05}


@cache
def fitted(held=True):
    """Return a generator of digits, 95 % of them within the 80 % quantile or free."""
    multiplier = None if held else 0.0
    constraint = MahalanobisConstraint(two_sided=True, multiplier=multiplier, **TIGHT)
    return MahalanobisGenerator(
        feature_law=LatentMixture(8),
        constraint=constraint,
        max_epochs=20,
        patience=None,
        random_state=0,
    ).fit(X)


@cache
def by_label():
    return MahalanobisGenerator(
        feature_law=LatentMixture(1, conditional=True),
        conditional=True,
        likelihood="bernoulli",
        max_epochs=15,
        random_state=0,
    ).fit(X / 16.0, Y)


# ------------------------------------------------------------------ likelihood


def test_the_likelihood_of_a_linear_model_is_that_of_its_normal_law():
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((400, 2)) @ rng.standard_normal((2, 4)) * 3.0
    rows += 0.5 * rng.standard_normal(rows.shape) + 10.0
    model = MahalanobisGenerator(
        1, **{**SMALL, "features": PCA(2), "hidden_sizes": (), "max_epochs": 15}
    ).fit(rows)
    (layer,) = model.decoder_.layers
    weight = layer.weight.double().numpy()
    scale, given = model.scale_[0], model.features_.transform(rows)
    given = (given - model.feature_mean_) / model.feature_scale_
    means = given @ weight[:, 1:].T + layer.bias.double().numpy()
    covariance = weight[:, :1] @ weight[:, :1].T * scale**2
    covariance += model.noise_variance_ * np.eye(4)
    expected = [
        multivariate_normal(mean * scale + model.mean_, covariance).logpdf(row)
        for mean, row in zip(means[:50], rows, strict=False)
    ]
    bound = [
        model.conditional_log_likelihood(rows[:50], n_samples=n).mean() for n in (1, 64)
    ]
    assert bound[0] < bound[1] < np.mean(expected)
    # an encoder that is the posterior leaves the weights no variance
    load, noise = weight[:, 0], model.noise_variance_ / scale**2
    variance = 1.0 / (1.0 + load @ load / noise)
    (head,) = model.encoder_.head.layers
    exact = np.zeros((2, 6))
    exact[0, :4] = load / noise * variance
    exact[0, 4:] = -exact[0, :4] @ weight[:, 1:]
    bias = [-exact[0, :4] @ layer.bias.double().numpy(), np.log(variance)]
    head.weight.copy_(torch.from_numpy(exact))
    head.bias.copy_(torch.tensor(bias))
    for n in (1, 3):
        found = model.conditional_log_likelihood(rows[:50], n_samples=n)
        assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert model.score(rows[:50]) == pytest.approx(np.mean(expected), rel=1e-4)


def test_features_make_rows_likelier():
    # the same rows with the features of others are less likely
    model = fitted()
    own = model._standard_features(model._given(X[:100]))
    for part, given in ((X[:100], own), (X[:100], own[::-1].copy())):
        z = np.zeros((len(part), 8), np.float32)
        made = model.decoder_(torch.from_numpy(np.hstack([z, given])))
        made = model._to_data()(made)
        error = np.square(made.numpy() - part).mean()
        if given is own:
            least = error
    assert least < 0.5 * error


def test_encoders_see_rows_and_features_and_train_whole():
    generator = torch.Generator().manual_seed(0)
    for channels in (None, (4, 6)):
        encoder = FeatureEncoder(
            (1, 8, 8), 3, 10, channels, (12, 7), "silu", 0.0, generator
        )
        both = torch.randn(5, 67, generator=generator, requires_grad=True)
        out = encoder(both)
        assert out.shape == (5, 10)
        out.square().sum().backward()
        assert (both.grad.abs().sum(dim=0) > 0).all()
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


# -------------------------------------------------------------------- training


def test_a_step_descends_likelihood_features_and_penalty():
    # networks of one weight, whose terms are written out by hand
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(1.5))

        def forward(self, both):  # z is left out
            return self.weight * both[:, 1:]

    class Encoder(nn.Module):
        def forward(self, both):
            return torch.zeros(len(both), 2)

    distance = MahalanobisDistance(torch.zeros(1, 1), torch.full((1, 1), 2.0))
    held = DistanceConstraint(
        nn.Identity(), distance, epsilon=1.0, tolerance=0.5, fixed=True, multiplier=3.0
    )
    decoder, likelihood, about = Decoder(), GaussianLikelihood(), GaussianLikelihood()
    draws = torch.full((N_PROBES + 10, 1), 2.0)
    program = MahalanobisProgram(
        {
            "encoder_": Encoder(),
            "decoder_": decoder,
            "likelihood_": likelihood,
            "feature_likelihood_": about,
        },
        torch.optim.SGD([decoder.weight], lr=0.1),
        held,
        features=lambda output: output,
        law=draws,
        asked=draws,
        codes=None,
        n_components=1,
        feature_weight=0.5,
    )
    x = torch.tensor([[1.0], [2.0]])
    found = program.step((x, x), torch.Generator().manual_seed(0))
    half = 0.5 * np.log(2 * np.pi)
    variance = 1.0 + 1e-6
    # rows decoded as 1.5 f, draws as 3 for a feature of 2, whitened 2 apart
    loss = half + np.mean([0.5**2, 1.0**2]) / (2 * variance)
    assert float(found["loss"]) == pytest.approx(loss, rel=1e-5)
    missed = half + 2.0**2 / (2 * variance)
    assert float(found["feature_loss"]) == pytest.approx(missed, rel=1e-5)
    assert float(found["violation"]) == 1.0
    # slopes: (w - 1) x² of rows, 4 (3 - 2) 2 of features, half of it, and of the
    # penalty 3 D² about sqrt(2) epsilon, where 2 + log(D² - 1) has a slope of 1/(D²-1)
    made = 2 * 1.5
    rows = np.mean([0.5 * 1.0, 0.5 * 4.0])
    features = 0.5 * 4.0 * (made - 2.0) * 2.0
    penalty = 3.0 * (8.0 * made) / ((2.0 * made) ** 2 - 1.0) * 2.0
    slope = rows + features + penalty
    assert decoder.weight.item() == pytest.approx(1.5 - 0.1 * slope, rel=1e-4)


def test_epochs_are_judged_by_draws_that_they_are_not_trained_on():
    made = fitted()
    history = made.history_
    best = made.best_epoch_ - 1
    assert history["validation_infeasibility"][best] == min(
        history["validation_infeasibility"]
    )
    rate = made.violation_rate(N_PROBES, random_state=1)
    assert abs(rate - history["validation_violation"][best]) < 0.02


# ------------------------------------------------------------------ constraint


def test_samples_stay_within_epsilon_and_are_spread_like_rows():
    free, held = fitted(held=False), fitted()
    assert free.epsilon_ == held.epsilon_
    assert free.multiplier_ == 0.0
    assert free.violation_rate(4000, random_state=0) > 2 * 0.05
    assert held.violation_rate(4000, random_state=0) <= 0.05 + 0.005
    rows = held.constraint_.distances(X)
    rows = rows[rows <= held.epsilon_]
    drawn = held.constraint_.distances(held.sample(4000, random_state=0))
    assert ks_2samp(rows, drawn).statistic <= 0.1
    assert held.constraint_.violation_rate(
        held.sample(4000, random_state=0)
    ) == held.violation_rate(4000, random_state=0)


def test_the_law_of_features_is_that_of_rows_within_epsilon():
    held = fitted()
    given = held._given(X)
    distances = held._distances(given, None)
    assert_allclose(distances, held.constraint_.distances(X), rtol=1e-6)
    drawn = held._draw_features(3000, None, np.random.RandomState(0))
    radii = held._distances(drawn, None)
    assert radii.max() <= held.epsilon_ * (1 + 1e-9)
    inside = distances[distances <= held.epsilon_]
    assert ks_2samp(radii, inside).statistic < 0.05
    # and they fill the directions that those do
    spread = drawn.std(axis=0) / given[distances <= held.epsilon_].std(axis=0)
    assert (np.abs(spread - 1.0) < 0.15).all()


def test_a_law_of_ones_own():
    for law in (GaussianMixture(3), LatentMixture(2)):
        made = MahalanobisGenerator(**{**SMALL, "feature_law": law}).fit(X)
        assert type(made.feature_law_) is type(law)
        assert made.feature_law_ is not law
        rows = made.sample(40, random_state=0)
        assert_array_equal(rows, made.sample(40, random_state=0))


# -------------------------------------------------------------------- features


def test_rows_have_the_features_that_are_asked_for():
    held = fitted()
    asked = held.features_.transform(X[:200])
    made = held.features_.transform(held.sample(y=asked, random_state=0))
    spread = asked.std(axis=0)
    missed = np.square((made - asked) / spread).mean(axis=0)
    assert np.median(missed) < 0.2
    one = held.sample(5, y=asked[:1], random_state=0)
    assert one.shape == (5, 64)
    assert len(np.unique(one, axis=0)) == 5  # z differs
    assert_array_equal(one, held.sample(5, y=asked[:1], random_state=0))
    first = held.sample(y=asked, random_state=0)[:3]
    assert_array_equal(held.sample(y=asked[:3], random_state=0), first)


def test_features_come_from_here_or_from_the_constraint_and_may_be_frozen():
    frozen = FrozenEstimator(PCA(5, random_state=0).fit(X))
    here = MahalanobisGenerator(**{**SMALL, "features": frozen}).fit(X)
    constraint = MahalanobisConstraint(frozen, two_sided=True)
    there = MahalanobisGenerator(
        **{**SMALL, "features": None, "constraint": constraint}
    ).fit(X)
    assert here.features_ is frozen
    assert_array_equal(here.sample(5, random_state=0), there.sample(5, random_state=0))
    default = MahalanobisGenerator(**{**SMALL, "features": None})
    assert default.fit(X).features_.n_components_ == 32
    assert default.fit(X[:, 10:13]).features_.n_components_ == 1


# ---------------------------------------------------------------------- labels


def test_a_label_draws_features_of_its_class():
    labelled = by_label()
    judge = KNeighborsClassifier(5).fit(X / 16.0, Y)
    asked = np.repeat(np.arange(10), 40)
    made = labelled.sample(y=asked, random_state=0)
    assert made.min() >= 0.0
    assert made.max() <= 1.0
    assert np.mean(judge.predict(made) == asked) > 0.9
    assert labelled.violation_rate(500, y=3, random_state=0) < 0.2
    drawn = judge.predict(labelled.sample(1000, random_state=0))
    shares = np.bincount(drawn, minlength=10) / 1000
    assert np.abs(shares - labelled.class_prior_).max() < 0.05


def test_distances_to_classes():
    constraint = MahalanobisConstraint(class_conditional=True)
    made = MahalanobisGenerator(
        **{
            **SMALL,
            "constraint": constraint,
            "feature_law": LatentMixture(1, conditional=True),
            "conditional": True,
        }
    ).fit(X, Y)
    given = made._draw_features(300, np.repeat(4, 300), np.random.RandomState(0))
    mine = made._distances(given, np.repeat(4, 300))
    center = made.constraint_.location_[4]
    brute = np.linalg.norm((given - center) @ made.constraint_.whitening_, axis=1)
    assert_allclose(mine, brute, rtol=1e-9)
    assert mine.max() <= made.epsilon_ * (1 + 1e-9)
    assert 0.0 <= made.violation_rate(100, random_state=0) <= 1.0


# ---------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components must be"),
        ({"likelihood": "poisson"}, "likelihood must be"),
        ({"feature_weight": -1.0}, "feature_weight must be"),
        ({"average_decay": 1.0}, "average_decay must be"),
        ({"likelihood": "bernoulli"}, r"needs data in \[0, 1\]"),
        (
            {"constraint": MahalanobisConstraint(PCA(2))},
            "features must be given once",
        ),
        (
            {"feature_law": GaussianMixture(), "conditional": True},
            "feature_law must draw by label",
        ),
        ({"constraint": MahalanobisConstraint(epsilon=2.0)}, "epsilon must be"),
        (
            {"feature_law": None, "conditional": True},
            "conditional=True needs labels",
        ),
    ],
    ids=lambda it: next(iter(it)) if isinstance(it, dict) else "",
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(ValueError, match=message):
        MahalanobisGenerator(**{**SMALL, **parameters}).fit(X[:50])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"constraint": 0.95}, "constraint must be None or a MahalanobisConstraint"),
        ({"feature_law": PCA(2)}, "feature_law must be None or an estimator"),
        ({"features": KNeighborsClassifier()}, "features must be None, a transformer"),
    ],
    ids=["constraint", "law", "features"],
)
def test_parts_of_a_wrong_kind(parameters, message):
    with pytest.raises(TypeError, match=message):
        MahalanobisGenerator(**{**SMALL, **parameters}).fit(X[:50], Y[:50])


def test_asked_features_of_a_wrong_shape():
    held = fitted()
    with pytest.raises(ValueError, match="y must hold 32 features a row"):
        held.sample(y=np.zeros((2, 5)))
    with pytest.raises(ValueError, match="one row or of n_samples=3 rows"):
        held.sample(3, y=np.zeros((2, 32)))
    with pytest.raises(ValueError, match="Set conditional=True"):
        held.sample(3, y=1)


def test_convolutions_on_images_of_bytes():
    images = np.round(X[:300] * 15).astype(np.uint8).reshape(-1, 8, 8)
    made = MahalanobisGenerator(
        **{**SMALL, "feature_law": LatentMixture(2, conditional=True)},
        conditional=True,
        architecture="conv",
        channels=(4, 6),
        likelihood="bernoulli",
    ).fit(images, Y[:300])
    drawn = made.sample(4, random_state=0)
    assert drawn.shape == (4, 8, 8)
    assert drawn.min() >= 0.0
    assert 100.0 < drawn.max() <= 255.0
    assert made.image_shape_ == (1, 8, 8)
    rows = images.reshape(-1, 64)
    few = made.conditional_log_likelihood(images[:9], n_samples=4)
    assert_array_equal(made.conditional_log_likelihood(rows[:9], n_samples=4), few)


def test_a_warm_start_goes_on_with_features_law_and_multiplier():
    made = MahalanobisGenerator(**SMALL).fit(X)
    law, epsilon = made.feature_law_, made.epsilon_
    likelihood = made.score(X[:200])
    made.set_params(warm_start=True, max_epochs=6).fit(X)
    assert made.feature_law_ is law
    assert made.epsilon_ == epsilon
    assert made.score(X[:200]) > likelihood
    with pytest.raises(ValueError, match="networks of the same shapes"):
        made.fit(X[:, :10])
    assert made.n_features_in_ == 64


def test_a_warm_start_knows_the_classes_that_it_goes_on_with():
    law = LatentMixture(1, conditional=True)
    made = MahalanobisGenerator(**{**SMALL, "feature_law": law}, conditional=True)
    made.fit(X[:200], np.arange(200) % 3)
    with pytest.raises(ValueError, match=r"got \[0, 1\]. Fit with warm_start=False"):
        made.set_params(warm_start=True).fit(X[:200], np.arange(200) % 2)
    assert made.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="n_samples must be an int >= 1"):
        made.sample(0, y=made.features_.transform(X[:2]))
    assert 0.0 <= made.violation_rate(y=[0, 1, 2], random_state=0) <= 1.0
    with pytest.raises(ValueError, match="one label or n_samples=5 labels"):
        made.violation_rate(5, y=[0, 1, 2])


def test_no_draw_depends_on_how_many_are_asked_for():
    for made in (fitted(), by_label()):
        many = made.sample(300, random_state=5)
        assert_array_equal(made.sample(7, random_state=5), many[:7])
    likely = fitted().conditional_log_likelihood(X[:40])
    assert_array_equal(fitted().conditional_log_likelihood(X[7:9]), likely[7:9])
    assert_array_equal(
        clone(MahalanobisGenerator(**SMALL)).fit(X).sample(5, random_state=0),
        MahalanobisGenerator(**SMALL).fit(X).sample(5, random_state=0),
    )
