"""VAEManifold: its bounds, its units, its classes and its training."""

import copy
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from manifoldgen import VAEManifold
from manifoldgen._random import torch_generator
from manifoldgen.exceptions import CollapseWarning
from manifoldgen.manifold import VariationalProgram
from manifoldgen.nn import MLP
from manifoldgen.nn.likelihoods import GaussianLikelihood, NormalPrior
from manifoldgen.training import make_optimizer

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
)

DIGITS, LABELS = load_digits(return_X_y=True)
THREE = LABELS < 3
DIGITS, LABELS = DIGITS[THREE][:300] / 16, LABELS[THREE][:300]
BYTES = (255 * DIGITS).astype(np.uint8).reshape(-1, 8, 8)


QUICK = {"batch_size": 32, "learning_rate": 5e-3}


def small(n_components=2, **parameters):
    options = {"hidden_sizes": (16,), "max_epochs": 5, "random_state": 0}
    return VAEManifold(n_components, **{**options, **parameters})


def linear_rows(n=400, seed=0):
    W = np.random.RandomState(9).standard_normal((2, 4))
    rng = np.random.RandomState(seed)
    Z = rng.standard_normal((n, 2))
    return Z @ W + 0.3 * rng.standard_normal((n, 4)) + [5.0, 0.0, -2.0, 1.0]


def linear_manifold():
    options = {"max_epochs": 40, "batch_size": 32, "patience": None}
    return small(hidden_sizes=(), learning_rate=2e-2, schedule="cosine", **options)


@pytest.fixture(scope="module")
def linear():
    return linear_manifold().fit(linear_rows())


@pytest.fixture(scope="module")
def conditional():
    options = {"likelihood": "bernoulli", "max_epochs": 40, **QUICK}
    return small(4, conditional=True, **options).fit(DIGITS, LABELS)


def marginal(manifold):
    """Return the exact density of a linear decoder, in units of the data."""
    (layer,) = manifold.decoder_.layers
    W = layer.weight.double().numpy() * manifold.scale_[:, None]
    b = layer.bias.double().numpy() * manifold.scale_ + manifold.shift_
    noise = manifold.noise_variance_ * np.eye(len(b))
    return multivariate_normal(b, W @ W.T + noise)


# ------------------------------------------------------------------------- densities


def test_the_bounds_approach_the_exact_density(linear):
    X = linear_rows(100, seed=1)
    exact = marginal(linear).logpdf(X)
    bound = linear.elbo(X, n_samples=1000)
    found = linear.log_likelihood(X, n_samples=1000)
    # weights of so close a posterior spread by a half at most, so that the mean of a
    # thousand is within 0.02 of the density by one standard error
    assert np.abs(found - exact).max() < 0.1
    assert abs(found.mean() - exact.mean()) < 0.01
    assert bound.mean() < found.mean() - 0.02
    assert (bound <= exact + 0.1).all()


def test_a_linear_one_comes_near_the_best_linear_density(linear):
    X = linear_rows()
    best = multivariate_normal(X.mean(0), np.cov(X.T)).logpdf(X).mean()
    apart = multivariate_normal(X.mean(0), np.diag(X.var(0))).logpdf(X).mean()
    found = marginal(linear).logpdf(X).mean()
    assert best - found < 0.25 * (best - apart)


def test_the_bound_with_one_draw_is_that_of_the_lower_bound_in_the_mean(linear):
    X = linear_rows(300, seed=1)
    apart = linear.elbo(X) - linear.log_likelihood(X, n_samples=1)
    error = apart.std() / np.sqrt(len(X))
    assert abs(apart.mean()) < 4 * error


def test_densities_are_in_units_of_the_data(linear):
    X = linear_rows(200, seed=1)
    ten = linear_manifold().fit(10 * linear_rows())
    for name in ("elbo", "log_likelihood"):
        ours = getattr(linear, name)(X, n_samples=50)
        apart = ours - getattr(ten, name)(10 * X, n_samples=50)
        error = apart.std() / np.sqrt(len(X))  # other rows, other draws
        assert error < 0.05
        assert abs(apart.mean() - 4 * np.log(10)) < 4 * error
    assert ten.noise_variance_ == pytest.approx(100 * linear.noise_variance_, rel=1e-3)


def test_bytes_are_probabilities_out_of_255():
    options = {"likelihood": "bernoulli", "image_shape": (1, 8, 8), "max_epochs": 2}
    rows = BYTES.reshape(-1, 64)
    ours = small(**options).fit(rows)
    theirs = small(**options).fit(rows / 255.0)
    assert_allclose(ours.transform(rows), theirs.transform(rows / 255.0), atol=1e-4)
    apart = ours.elbo(rows, n_samples=50) - theirs.elbo(rows / 255.0, n_samples=50)
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(len(rows)) < 2.0
    assert_array_equal(ours.elbo(rows.astype(np.float64)), ours.elbo(rows))


@pytest.mark.parametrize("name", ["elbo", "log_likelihood"])
@pytest.mark.parametrize("n_samples", [1, 5, 9000])
def test_a_row_is_as_likely_in_any_company(conditional, name, n_samples):
    call = getattr(conditional, name)
    rows = DIGITS[:70] if n_samples < 100 else DIGITS[:2]
    whole = call(rows, n_samples=n_samples)
    assert whole.dtype == np.float64
    assert_array_equal(call(rows[::-1], n_samples=n_samples)[::-1], whole)
    assert_array_equal(call(rows[1:2], n_samples=n_samples), whole[1:2])
    assert not np.array_equal(call(rows, n_samples=n_samples, random_state=1), whole)


# ---------------------------------------------------------------------------- classes


def test_samples_of_a_class_are_of_it(conditional):
    judge = LogisticRegression(max_iter=500).fit(DIGITS, LABELS)
    drawn = conditional.sample(y=LABELS, random_state=0)
    assert drawn.shape == DIGITS.shape
    assert judge.score(drawn, LABELS) > 0.75
    assert set(judge.predict(conditional.sample(200, random_state=0))) == {0, 1, 2}


def test_the_density_of_all_classes_is_their_mixture(conditional):
    X, n = DIGITS[:40], 200
    each = [
        conditional.log_likelihood(X, np.full(40, label), n_samples=n)
        for label in range(3)
    ]
    shares = np.log(conditional.class_prior_)[:, None]
    whole = conditional.log_likelihood(X, n_samples=n)
    expected = np.logaddexp.reduce(np.array(each) + shares, axis=0)
    # the same draws, and weights that add up: equal but for rounding
    assert_allclose(whole, expected, atol=1e-3)
    own = conditional.elbo(X, LABELS[:40], n_samples=n)
    other = conditional.elbo(X, (LABELS[:40] + 1) % 3, n_samples=n)
    assert own.mean() > other.mean() + 1.0
    assert conditional.elbo(X, n_samples=n).mean() < whole.mean()


def test_labels_do_not_move_the_latents_of_a_row(conditional):
    assert conditional.prior_.mean.shape == (3, 4)
    assert_array_equal(conditional.transform(DIGITS), conditional.transform(DIGITS))
    X_val = small(max_epochs=2, conditional=True).fit(DIGITS, LABELS, X_val=DIGITS)
    assert np.isfinite(X_val.history_["validation_loss"]).all()


def test_labels_are_refused_where_they_make_no_sense(conditional):
    with pytest.raises(ValueError, match="conditional=True needs labels"):
        small(conditional=True).fit(DIGITS)
    with pytest.raises(ValueError, match="2 rows of each class"):
        small(conditional=True).fit(DIGITS, np.r_[7, LABELS[1:]])
    with pytest.raises(ValueError, match="labels that fit saw"):
        conditional.elbo(DIGITS[:2], [0, 9])
    with pytest.raises(ValueError, match="Set conditional=True"):
        small(max_epochs=1).fit(DIGITS, LABELS).sample(y=1)


def test_later_calls_take_known_classes_and_count_them():
    manifold = small(conditional=True).partial_fit(DIGITS, LABELS)
    manifold.partial_fit(DIGITS[:10], np.zeros(10, dtype=int))
    counts = np.add(np.bincount(LABELS), [10, 0, 0])
    assert_allclose(manifold.class_prior_, counts / counts.sum())
    assert_allclose(
        manifold.prior_.log_shares.exp().numpy(), manifold.class_prior_, rtol=1e-5
    )
    assert manifold.n_epochs_ == 2
    with pytest.raises(ValueError, match="labels that fit saw"):
        manifold.partial_fit(DIGITS[:2], [5, 5])


# --------------------------------------------------------------------------- training


def program_of(**options):
    generator = torch_generator(0)
    networks = {
        "encoder_": MLP((3, 4), generator=generator),
        "decoder_": MLP((2, 3), generator=generator),
        "prior_": NormalPrior(0, 2),
        "likelihood_": GaussianLikelihood(),
    }
    parameters = [p for m in networks.values() for p in m.parameters()]
    return VariationalProgram(
        networks, make_optimizer("adam", parameters, 1e-2), **options
    )


def test_a_step_descends_minus_the_bound():
    program = program_of(beta=0.7)
    x = torch.randn(50, 3, generator=torch_generator(1))
    parts = copy.deepcopy(program.networks)
    (found,) = program.step((x,), torch_generator(2)).values()
    code = parts["encoder_"](x)
    mean, deviation = code[:, :2], (0.5 * code[:, 2:]).exp()
    noise = torch.empty(50, 2).normal_(generator=torch_generator(2))
    output = parts["decoder_"](mean + deviation * noise)
    p = torch.distributions.Normal(output, 1.0)
    q = torch.distributions.Normal(mean, deviation)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    expected = (-p.log_prob(x).sum(1) + 0.7 * kl.sum(1)).mean()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_divergence_is_let_in_step_by_step():
    program = program_of(beta=2.0, warmup_steps=4)
    x = torch.randn(50, 3, generator=torch_generator(1))
    weights = []
    for _ in range(6):
        weights.append(program._beta_now())
        program.step((x,), torch_generator(2))
    assert weights == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    other = program_of(beta=2.0, warmup_steps=4)
    other.load_state_dict(program.state_dict())
    assert other.n_steps == 6


def test_without_weight_the_divergence_grows():
    free, held = (
        small(beta=beta, max_epochs=20, **QUICK).fit(DIGITS) for beta in (0.0, 4.0)
    )
    ours, theirs = (m.history_["validation_divergence"][-1] for m in (free, held))
    assert ours > 2 * theirs
    assert free.score(DIGITS) > held.score(DIGITS)


def test_free_nats_keep_latents_that_weight_alone_gives_up():
    options = {"beta": 300.0, "validation_fraction": 0.0, "schedule": "cosine"}
    options |= {"max_epochs": 40, "batch_size": 32, "learning_rate": 2e-2}
    with pytest.warns(CollapseWarning, match=r"Lower beta, raise free_bits"):
        small(**options).fit(DIGITS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        kept = small(free_bits=0.5, **options).fit(DIGITS)
    assert kept.transform(DIGITS).std(axis=0).min() > 0.1


def test_the_average_of_the_weights_takes_their_place():
    plain = small(validation_fraction=0.0).fit(DIGITS)
    mean = small(validation_fraction=0.0, average_decay=0.99).fit(DIGITS)
    assert_array_equal(mean.history_["loss"], plain.history_["loss"])
    assert not np.array_equal(mean.transform(DIGITS), plain.transform(DIGITS))
    assert mean.noise_variance_ != plain.noise_variance_


def test_weights_are_averaged_where_the_likelihood_has_none():
    plain = small(likelihood="bernoulli", validation_fraction=0.0).fit(DIGITS)
    mean = clone(plain).set_params(average_decay=0.99).fit(DIGITS)
    assert_array_equal(mean.history_["loss"], plain.history_["loss"])
    assert not np.array_equal(mean.transform(DIGITS), plain.transform(DIGITS))


class Stop(Exception):
    pass


def test_a_killed_fit_resumes_to_the_bit(tmp_path):
    options = {
        "kl_warmup_epochs": 4,
        "average_decay": 0.9,
        "max_epochs": 6,
        "checkpoint": tmp_path,
    }

    def kill(row):
        if row["epoch"] == 3:
            raise Stop

    expected = small(**options).fit(DIGITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manifoldgen.training.checkpoint.Checkpoint.due", lambda s: True)
        with pytest.raises(Stop):
            small(callbacks=(kill,), **options).fit(DIGITS)
    assert len(list(tmp_path.iterdir())) == 1
    again = small(**options).fit(DIGITS)
    assert_array_equal(again.transform(DIGITS), expected.transform(DIGITS))
    assert_array_equal(again.history_["loss"], expected.history_["loss"])


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_images_in_bytes_come_back_as_images(likelihood):
    manifold = small(
        architecture="conv", channels=(4,), likelihood=likelihood, max_epochs=2
    ).fit(BYTES)
    drawn = manifold.sample(30, random_state=0)
    assert drawn.shape == (30, 8, 8)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < 100 < drawn.max() <= 255
    assert manifold.inverse_transform(manifold.transform(BYTES)).shape == BYTES.shape
    assert manifold.log_likelihood(BYTES[:5]).shape == (5,)
    assert hasattr(manifold, "noise_variance_") == (likelihood == "gaussian")


def test_images_may_be_changed_in_training():
    options = {"image_shape": (1, 8, 8), "max_epochs": 2}
    plain = small(**options).fit(DIGITS)
    changed = small(augment=["shift"], **options).fit(DIGITS)
    assert not np.array_equal(plain.transform(DIGITS), changed.transform(DIGITS))


class OwnEncoder(torch.nn.Sequential):
    def __init__(self, n_in, n_out):
        super().__init__(
            torch.nn.Linear(n_in, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, n_out)
        )


def test_networks_of_ones_own_return_means_and_variances():
    options = {"encoder": OwnEncoder, "decoder": torch.nn.Linear, "average_decay": 0.9}
    one, thousand = (small(**options).fit(s * DIGITS) for s in (1.0, 1000.0))
    assert one.transform(DIGITS).shape == (300, 2)
    assert_allclose(one.transform(DIGITS), thousand.transform(1000 * DIGITS), atol=1e-2)
    # the average has seen the rows, as the networks have
    assert float(one.encoder_[1].running_var.mean()) != 1.0
    with pytest.raises(ValueError, match=r"shape \(2, 4\)"):
        small(encoder=lambda a, b: torch.nn.Linear(a, b // 2)).fit(DIGITS)


def test_training_in_half_the_digits_is_near():
    whole = small(max_epochs=10).fit(DIGITS)
    half = small(max_epochs=10, precision="bf16").fit(DIGITS)
    assert half.history_["loss"][-1] == pytest.approx(whole.history_["loss"][-1], 0.1)


INVALID = [
    ("likelihood", "poisson"),
    ("beta", -1.0),
    ("free_bits", -0.1),
    ("kl_warmup_epochs", -1),
    ("conditional", "yes"),
    ("average_decay", 1.0),
    ("n_components", 65),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_invalid_parameters(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        small().set_params(**{name: value}).fit(DIGITS, LABELS)


def test_values_that_are_no_probabilities():
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs .*gaussian"):
        small(likelihood="bernoulli").fit(2 * DIGITS)
    manifold = small(likelihood="bernoulli", max_epochs=1).fit(DIGITS)
    with pytest.raises(ValueError, match="likelihood='bernoulli' needs"):
        manifold.elbo(2 * DIGITS)
    with pytest.raises(ValueError, match="n_samples must be"):
        manifold.elbo(DIGITS, n_samples=0)


def test_going_on_needs_the_same_likelihood():
    manifold = small(max_epochs=1, warm_start=True).fit(DIGITS)
    before = manifold.transform(DIGITS)
    with pytest.raises(ValueError, match="Training on from fitted weights"):
        manifold.set_params(likelihood="bernoulli").fit(DIGITS)
    assert_array_equal(manifold.transform(DIGITS), before)
    straight = clone(manifold).set_params(likelihood="gaussian")
    assert straight.partial_fit(DIGITS).partial_fit(DIGITS).n_epochs_ == 2
