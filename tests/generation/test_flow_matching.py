"""LatentFlowMatching: its regression, its densities, labels, guidance and reflow."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError

from manifoldgen import LatentFlowMatching, energy_distance
from manifoldgen.generation._flow_program import FlowMatchingProgram
from manifoldgen.nn import VelocityField
from manifoldgen.training import make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.standard_normal((120, 3)) * [1.0, 5.0, 0.1] + [0.0, 10.0, -1.0]
X.setflags(write=False)
Y = np.arange(120) % 3


def small(**changes):
    parameters = {"hidden_sizes": (8,), "max_epochs": 3, "random_state": 0}
    return LatentFlowMatching(**{**parameters, **changes})


def two_groups(n, seed=0):
    """Return rows of a left and a right group, and their labels."""
    rng = np.random.RandomState(seed)
    y = np.arange(n) % 2
    rows = rng.standard_normal((n, 2)) * 0.3
    rows[:, 0] += np.where(y == 1, 2.0, -2.0)
    return rows, y


@pytest.fixture(scope="module")
def groups():
    rows, y = two_groups(600)
    flow = LatentFlowMatching(
        hidden_sizes=(64, 64), conditional=True, max_epochs=150, random_state=0
    )
    return flow.fit(rows, np.where(y == 1, "right", "left"))


# -------------------------------------------------------------------- the regression


def program_of(field, **options):
    optimizer = make_optimizer("adam", field.parameters(), 1e-3)
    average = VelocityField(2, 0, (8,))
    return FlowMatchingProgram(
        field, average, optimizer, average_decay=0.9, probe_seed=0, **options
    )


def test_loss_is_the_weighted_error_of_the_velocity():
    source = torch.Generator().manual_seed(0)
    field = VelocityField(2, 0, (8,), source)
    with torch.no_grad():
        field.last.weight.normal_(generator=source)
    program = program_of(field)
    rows, noise = torch.randn(2, 5, 2, generator=source)
    time = torch.rand(5, 1, generator=source)
    found = program._errors(field, rows, noise, time, [])
    velocity = field(time * rows + (1 - time) * noise, time)
    squared_spread = (time**2 + (1 - time) ** 2).squeeze(1)
    expected = squared_spread * (velocity - (rows - noise)).square().mean(1)
    torch.testing.assert_close(found, expected)


def test_untrained_loss_of_standard_normal_rows_is_one():
    source = torch.Generator().manual_seed(0)
    program = program_of(VelocityField(2, 0, (8,), source))
    rows = torch.randn(20_000, 2, generator=source)
    figures = program.validate((rows,))
    assert float(figures["loss"]) == pytest.approx(1.0, abs=0.03)
    assert 0.003 < float(figures["loss_error"]) < 0.015


def test_validation_is_the_same_twice():
    program = program_of(VelocityField(2, 0, (8,), torch.Generator().manual_seed(0)))
    rows = (torch.randn(50, 2, generator=torch.Generator().manual_seed(1)),)
    assert program.validate(rows) == program.validate(rows)


def test_pairs_are_taken_as_they_are():
    field = VelocityField(2, 0, (8,), torch.Generator().manual_seed(0))
    program = program_of(field, paired=True)
    rows, noise = torch.ones(3, 2), torch.zeros(3, 2)
    assert program._parts((rows, noise), torch.Generator())[1] is noise


# ------------------------------------------------------------------------ the density


def test_density_of_a_normal_distribution():
    covariance = np.array([[4.0, 1.0], [1.0, 0.5]])
    truth = multivariate_normal([10.0, -2.0], covariance)
    rows = truth.rvs(2000, random_state=0)
    flow = LatentFlowMatching(
        hidden_sizes=(32, 32), batch_size=512, max_epochs=100, random_state=0
    ).fit(rows)
    new = truth.rvs(200, random_state=1)
    apart = flow.score_samples(new) - truth.logpdf(new)
    assert abs(apart.mean()) < 0.05
    assert apart.std() < 0.2
    assert flow.score(new) == pytest.approx(flow.score_samples(new).mean())


def test_density_integrates_to_one(groups):
    axes = np.linspace(-4, 4, 41), np.linspace(-2, 2, 21)
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    mass = np.exp(groups.score_samples(grid)).sum() * 0.2 * 0.2
    assert mass == pytest.approx(1.0, abs=0.02)


def test_density_is_that_of_the_samples(groups):
    """Compare the share of samples in a region with the integral over it."""
    blind = pickle.loads(pickle.dumps(groups)).set_params(guidance=0.0)
    drawn = blind.sample(10_000, random_state=0)
    inside = (np.abs(drawn[:, 0] - 2) < 0.25) & (np.abs(drawn[:, 1]) < 0.25)
    axis = np.linspace(-0.225, 0.225, 10)
    grid = np.stack(np.meshgrid(2 + axis, axis), -1).reshape(-1, 2)
    mass = np.exp(groups.score_samples(grid)).sum() * 0.05**2
    # a standard error is .0035
    assert inside.mean() == pytest.approx(mass, abs=0.012)


def test_units_shift_the_density_and_scale_the_samples():
    one, thousand = small().fit(X), small().fit(1000 * X)
    assert_allclose(
        thousand.score_samples(1000 * X),
        one.score_samples(X) - 3 * np.log(1000),
        rtol=1e-4,
    )
    assert_allclose(
        thousand.sample(9, random_state=0),
        1000 * one.sample(9, random_state=0),
        rtol=1e-3,
        atol=0.1,
    )


def test_constant_columns_are_sampled_and_have_no_density():
    rows = np.column_stack([X[:, 0], np.full(len(X), 7.0)])
    flow, alone = small().fit(rows), small().fit(X[:, :1])
    assert (flow.sample(20, random_state=0)[:, 1] == 7).all()
    assert_allclose(flow.score_samples(rows), alone.score_samples(X[:, :1]))
    off = rows[:1] + np.array([[0.0, 0.1]])
    assert flow.score_samples(off)[0] < flow.score_samples(rows).min() - 1000


def test_rows_without_a_varying_column():
    flow = small().fit(np.full((10, 2), 3.0))
    assert_array_equal(flow.sample(4), np.full((4, 2), 3.0))
    assert_array_equal(flow.score_samples(np.full((2, 2), 3.0)), [0.0, 0.0])


def test_density_of_many_columns_is_refused_and_samples_are_not():
    rows = np.random.RandomState(0).standard_normal((30, 65))
    flow = small().fit(rows)
    with pytest.raises(ValueError, match="64 columns that vary at most, got 65"):
        flow.score_samples(rows)
    assert flow.sample(2).shape == (2, 65)


# -------------------------------------------------------------- labels, their strength


def test_samples_follow_their_labels(groups):
    drawn = groups.sample(y=["left"] * 300 + ["right"] * 200, random_state=0)
    assert (drawn[:300, 0] < 0).mean() > 0.99
    assert (drawn[300:, 0] > 0).mean() > 0.99


def test_labels_are_drawn_by_frequency(groups):
    drawn = groups.sample(2000, random_state=0)
    assert (drawn[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.04)


def test_guidance_of_nought_does_not_look_at_the_label(groups):
    blind = pickle.loads(pickle.dumps(groups)).set_params(guidance=0.0)
    drawn = blind.sample(2000, y="left", random_state=0)
    assert (drawn[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.08)


def test_more_guidance_moves_away_from_the_other_class():
    """Overlapping groups: samples of one class move from the middle."""
    rows, y = two_groups(600)
    rows[:, 0] *= 0.3
    flow = LatentFlowMatching(
        hidden_sizes=(32, 32), conditional=True, max_epochs=60, random_state=0
    ).fit(rows, y)
    plain = flow.sample(1000, y=1, random_state=0)[:, 0].mean()
    strong = flow.set_params(guidance=3.0).sample(1000, y=1, random_state=0)[:, 0]
    assert strong.mean() > plain + 0.05


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "call fit"),
        (np.arange(120), "2 rows of each class .* not named"),
        (np.linspace(0, 1, 120), "continuous"),
    ],
)
def test_labels_that_cannot_be_conditions(y, message):
    with pytest.raises(ValueError, match=message):
        small(conditional=True).fit(X, y)


def test_one_class_alone_is_learned():
    flow = small(conditional=True).fit(X, ["only"] * 120)
    assert flow.sample(2, y="only").shape == (2, 3)


def test_label_that_fit_never_saw(groups):
    with pytest.raises(ValueError, match=r"\['left', 'right'\], got \['up'\]"):
        groups.sample(y=["left", "up"])
    with pytest.raises(ValueError, match="conditional=True"):
        small().fit(X).sample(2, y=1)


# ---------------------------------------------------------------------- steps, reflow


def test_steps_and_solver_take_effect_without_fitting_again():
    flow = small().fit(X)
    fine = flow.sample(50, random_state=0)
    coarse = flow.set_params(n_steps=1, solver="euler").sample(50, random_state=0)
    assert not np.allclose(fine, coarse)
    with pytest.raises(ValueError, match="n_steps must be an int >= 1"):
        flow.set_params(n_steps=0).sample(1)


def test_a_row_does_not_depend_on_how_many_are_drawn():
    flow = small(conditional=True).fit(X, Y)
    many = flow.sample(100, y=1, random_state=3)
    assert_array_equal(flow.sample(7, y=1, random_state=3), many[:7])


def test_reflow_straightens_the_way():
    """Four steps of Euler come nearer to where many small ones end."""
    rows, _ = two_groups(600)
    options = {"hidden_sizes": (64, 64), "max_epochs": 100, "random_state": 0}
    errors = []
    for epochs in (0, 100):
        flow = LatentFlowMatching(reflow_epochs=epochs, **options).fit(rows)
        fine = flow.set_params(n_steps=40).sample(1000, random_state=0)
        flow.set_params(n_steps=4, solver="euler")
        coarse = flow.sample(1000, random_state=0)
        errors.append(np.linalg.norm(fine - coarse, axis=1).mean())
    assert errors[1] < 0.5 * errors[0]
    assert energy_distance(rows, coarse) < 0.05
    assert flow.n_epochs_ == len(flow.history_.rows) == 200
    assert [row["epoch"] for row in flow.history_.rows] == list(range(1, 201))
    assert np.isnan(flow.history_["validation_loss"][100:]).all()


def test_half_precision_trains_to_about_the_same():
    full, half = small().fit(X), small(precision="bf16").fit(X)
    assert_allclose(half.history_["loss"], full.history_["loss"], rtol=0.02)


@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        ("hidden_sizes", (), "one size at least"),
        ("guidance", -1.0, "guidance"),
        ("solver", "rk4", "'euler', 'heun'"),
        ("n_steps", 0, "n_steps"),
        ("reflow_epochs", -1, "reflow_epochs"),
        ("average_decay", 1.0, "average_decay"),
        ("precision", "int8", "precision"),
    ],
)
def test_bad_parameters(parameter, value, error):
    with pytest.raises(ValueError, match=error):
        small(**{parameter: value}).fit(X)


def test_unfitted():
    with pytest.raises(NotFittedError):
        small().sample(1)
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        small().fit(X).sample(0)
