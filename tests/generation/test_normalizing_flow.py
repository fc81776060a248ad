"""LatentNormalizingFlow: its densities by autograd and by sums, its samples."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError

from manifoldgen import LatentNormalizingFlow
from manifoldgen.generation._normalizing_flow import NormalizingFlowProgram
from manifoldgen.nn import SplineFlow, even_linear
from manifoldgen.training import make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((120, 3)) * [1.0, 5.0, 0.1] + [0.0, 10.0, -1.0]
X[:, 2] += 0.1 * X[:, 0] ** 2
X.setflags(write=False)
Y = np.arange(120) % 3


def small(**changes):
    parameters = {"n_transforms": 2, "hidden_sizes": (8,), "n_bins": 4}
    return LatentNormalizingFlow(
        **{**parameters, "max_epochs": 3, "random_state": 0, **changes}
    )


def bent(n_columns, n_classes=0, n_transforms=3):
    """Return a flow that is not the identity, with noise of two Gaussians."""
    torch.manual_seed(0)
    flow = SplineFlow(n_columns, n_classes, n_transforms, (8,), 5, n_components=3)
    for parameter in flow.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)
    weights = np.full((max(n_classes, 1), 2), 0.5)
    roots = np.array([np.eye(n_columns), np.triu(np.full((n_columns,) * 2, 1.5))])
    flow.noise.set(weights, np.array([[0.5], [-1.0]]).repeat(n_columns, 1), roots)
    return flow.in_double()


def label_of(n_classes, n):
    return torch.eye(n_classes, dtype=torch.float64)[
        torch.arange(n) % max(n_classes, 1)
    ]


# ------------------------------------------------------------------------ the network


@pytest.fixture(autouse=True)
def same_global_generator():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.mark.parametrize(("n_columns", "n_classes"), [(1, 0), (1, 2), (3, 0), (5, 2)])
def test_the_density_is_that_of_the_noise_times_the_slope(n_columns, n_classes):
    flow = bent(n_columns, n_classes)
    x = torch.randn(6, n_columns, dtype=torch.float64)
    label = label_of(n_classes, 6) if n_classes else x[:, :0]

    def to_noise(row, context):
        for transform in flow.transforms:
            row = transform(context if n_classes else None)(row)
        return row

    for row, context, found in zip(
        x, label, flow.log_density(x, label).detach(), strict=True
    ):
        slopes = torch.autograd.functional.jacobian(
            lambda it, c=context: to_noise(it, c), row
        )
        noise = to_noise(row, context).detach().numpy()
        root = np.triu(np.full((n_columns, n_columns), 1.5))
        covariances = np.eye(n_columns), np.linalg.inv(root @ root.T)
        densities = [
            multivariate_normal(np.full(n_columns, mean), covariance).pdf(noise)
            for mean, covariance in zip((0.5, -1.0), covariances, strict=True)
        ]
        expected = np.log(np.mean(densities)) + slopes.slogdet()[1].item()
        assert found.item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("n_columns", "n_classes"), [(1, 0), (1, 2), (4, 0), (5, 3)])
def test_the_way_back_is_the_inverse(n_columns, n_classes):
    flow = bent(n_columns, n_classes)
    x = 3 * torch.randn(50, n_columns, dtype=torch.float64)
    label = label_of(n_classes, 50) if n_classes else x[:, :0]
    z = x
    for transform in flow.transforms:
        z = transform(label if n_classes else None)(z)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(flow(z, label), x, rtol=1e-6, atol=1e-6)


def test_every_column_is_bent_and_every_parameter_learns():
    flow = bent(4, n_transforms=2)
    x = torch.randn(300, 4, dtype=torch.float64)
    assert (flow(x, x[:, :0]) != x).any(dim=0).all()
    flow.log_density(x, x[:, :0]).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in flow.parameters())


def test_an_untrained_flow_is_its_noise():
    flow = SplineFlow(3, 0, 4, (8,), 6).in_double()
    x = torch.randn(20, 3, dtype=torch.float64)
    expected = multivariate_normal(np.zeros(3)).logpdf(x.numpy())
    found = flow.log_density(x, x[:, :0]).detach().numpy()
    assert_allclose(found, expected, atol=1e-12)


def test_products_of_odd_width():
    x, weight = (
        torch.randn(7, 5, dtype=torch.float64),
        torch.randn(3, 5, dtype=torch.float64),
    )
    torch.testing.assert_close(even_linear(x, weight, None), x @ weight.T)


def test_a_step_climbs_the_mean_log_density():
    flow = bent(3).requires_grad_(True)
    program = NormalizingFlowProgram(
        flow, copy.deepcopy(flow), make_optimizer("sgd", flow.parameters(), 1e-3), 0.5
    )
    x = torch.randn(64, 3, dtype=torch.float64)
    before = float(program.step((x,), torch.Generator())["loss"])
    assert before == pytest.approx(float(program.validate((x,))["loss"]), rel=1e-2)
    for _ in range(20):
        after = float(program.step((x,), torch.Generator())["loss"])
    assert after < before
    live, average = next(flow.parameters()), next(program.average.parameters())
    assert not torch.equal(live, average)


# -------------------------------------------------------------------------- densities


@pytest.mark.parametrize("conditional", [False, True])
def test_the_density_integrates_to_one(conditional):
    rows = X[:, [0, 2]]
    flow = small(conditional=conditional, max_epochs=5).fit(rows, Y)
    low, high = rows.min(axis=0) - 1.5, rows.max(axis=0) + 1.5
    axes = [np.linspace(a, b, 100) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    total = np.exp(flow.score_samples(grid)).sum() * cell
    assert total == pytest.approx(1.0, abs=0.02)
    assert flow.score(rows) == flow.score_samples(rows).mean()


def test_other_units_shift_the_density_and_scale_the_samples():
    one, other = (small().fit(unit * X) for unit in (1.0, 1024.0))
    assert_allclose(
        other.score_samples(1024 * X), one.score_samples(X) - 3 * np.log(1024), 1e-4
    )
    assert_allclose(
        other.sample(20, random_state=0), 1024 * one.sample(20, random_state=0), 1e-4
    )


def test_samples_have_the_moments_of_the_rows():
    drawn = small(max_epochs=8).fit(X).sample(4000, random_state=0)
    assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.3 * X.std(axis=0).max())
    assert_allclose(drawn.std(axis=0), X.std(axis=0), rtol=0.35)


def test_training_makes_held_out_rows_likelier():
    rows = RNG.standard_normal((400, 2))
    rows[:, 1] = np.sin(2 * rows[:, 0]) + 0.1 * rows[:, 1]
    flow = small(max_epochs=20, learning_rate=1e-2, n_bins=8).fit(rows)
    losses = flow.history_["validation_loss"]
    assert losses[flow.best_epoch_ - 1] == losses.min() < losses[0]
    assert "validation_loss" not in small(validation_fraction=0.0).fit(X).history_


def test_far_rows_are_finite():
    flow = small().fit(X)
    assert np.isfinite(flow.score_samples(1e6 * X)).all()
    assert flow.score(1e6 * X) < flow.score(X)


# ----------------------------------------------------------------------------- labels


def test_labels_are_drawn_as_asked():
    names = np.array(["left", "middle", "right"])[Y]
    rows = X + 40.0 * Y[:, None]
    flow = small(conditional=True).fit(rows, names)
    asked = np.array(["right", "left", "middle", "left"] * 10)
    drawn = flow.sample(y=asked, random_state=0)
    centres = [rows[Y == label].mean(axis=0) for label in range(3)]
    nearest = np.abs(drawn[:, None] - centres).sum(axis=2).argmin(axis=1)
    assert_array_equal(np.array(["left", "middle", "right"])[nearest], asked)
    with pytest.raises(ValueError, match="labels that fit saw"):
        flow.sample(y="top")
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        flow.sample(0)


def test_two_rows_a_class_and_one():
    flow = small(conditional=True, max_epochs=1).fit(X, np.repeat(np.arange(60), 2))
    assert flow.sample(y=[0, 59]).shape == (2, 3)
    with pytest.raises(ValueError, match=r"2 rows of each class.*measured"):
        small(conditional=True).fit(X, np.r_[np.zeros(119), 1.0])
    with pytest.raises(ValueError, match=r"y=1 was asked of.*Set conditional=True"):
        small().fit(X).sample(y=1)


@pytest.mark.parametrize(
    "rows", [X[:4], X[:30, [0, 1, 2, 0, 1, 2] * 8], np.full((20, 3), 5.0)]
)
def test_degenerate_rows(rows):
    flow = small().fit(rows)
    assert np.isfinite(flow.score_samples(rows)).all()
    assert np.isfinite(flow.sample(50)).all()


def test_a_warm_start_goes_on():
    flow = small(max_epochs=5).fit(X)
    before = flow.score_samples(X)
    flow.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(X)
    assert_allclose(flow.score_samples(X), before, atol=1e-3)
    assert_allclose(flow.mean_, X.mean(axis=0))


def test_steps_for_every_fourth_row_within_bounds():
    flow = LatentNormalizingFlow(batch_size=100)
    assert flow._enough_epochs(500) == 60  # 300 steps, the least
    assert flow._enough_epochs(4000) == 25  # 1,000 steps
    assert flow._enough_epochs(10**5) == 20
    with pytest.raises(NotFittedError):
        flow.score(X)


INVALID = [
    ("n_transforms", 0, ValueError),
    ("hidden_sizes", (0,), ValueError),
    ("n_bins", 1, ValueError),
    ("conditional", "yes", TypeError),
    ("average_decay", 1.0, ValueError),
    ("learning_rate", 0.0, ValueError),
    ("schedule", "step", ValueError),
    ("batch_size", 0, ValueError),
    ("max_epochs", 0, ValueError),
    ("validation_fraction", 1.0, ValueError),
    ("patience", 0, ValueError),
    ("tol", np.nan, ValueError),
    ("warm_start", "no", TypeError),
    ("max_time", -1.0, ValueError),
    ("precision", "bf16", ValueError),
    ("device", "tpu", ValueError),
    ("checkpoint", 1.0, TypeError),
    ("callbacks", ["print"], TypeError),
    ("verbose", None, TypeError),
    ("random_state", "0", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), INVALID)
def test_invalid_parameters_say_name_rule_and_value(name, value, error):
    flow = small(**{name: value})
    with pytest.raises(error, match=f"^{name} .*must "):
        flow.fit(X, Y)
    assert set(vars(flow)) == set(flow.get_params())


def test_every_parameter_has_an_invalid_value_here():
    assert {name for name, *_ in INVALID} == set(small().get_params())
