"""LatentGAN: its losses by autograd, its samples by their labels and their modes."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.stats import kstest, norm, truncnorm, uniform
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import softplus

from manifoldgen import LatentGAN
from manifoldgen.base import warn_unconverged
from manifoldgen.exceptions import CollapseWarning, TrainingDivergedError
from manifoldgen.generation._gan import truncated_normal
from manifoldgen.generation._gan_program import (
    GANProgram,
    HingeProgram,
    RelativisticProgram,
)
from manifoldgen.nn import MLP, Critic
from manifoldgen.training import (
    SCHEDULES,
    Checkpoint,
    History,
    Outcome,
    make_optimizer,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
)

RNG = np.random.RandomState(0)
X = RNG.standard_normal((120, 3)) * [1.0, 5.0, 0.1] + [0.0, 10.0, -1.0]
X.setflags(write=False)
Y = np.arange(120) % 3
LOSSES = ["relativistic", "hinge"]


def small(**changes):
    parameters = {"hidden_sizes": (8,), "max_epochs": 3, "random_state": 0}
    return LatentGAN(**{**parameters, **changes})


def conditional(**changes):
    return small(conditional=True, **changes)


def weights_of(gan):
    networks = gan.generator_, gan.critic_
    return [p.clone() for network in networks for p in network.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# -------------------------------------------------------------------------- the steps


def stream(seed):
    return torch.Generator().manual_seed(seed)


def program_of(n_labels, decay=0.9, rate=0.1, game=RelativisticProgram, **options):
    generator = MLP((2 + n_labels, 5, 3), "leaky_relu", generator=stream(0)).double()
    critic = Critic(3 + n_labels, (6, 4), stream(1)).double()
    for network in (generator, critic):
        for p in network.parameters():
            p.data += 0.1 * torch.randn(p.shape, dtype=p.dtype, generator=stream(2))
    options = options or {"gradient_penalty": 0.7}
    return game(
        generator,
        copy.deepcopy(generator),
        critic,
        {
            "generator": make_optimizer("sgd", generator.parameters(), rate),
            "critic": make_optimizer("sgd", critic.parameters(), rate),
        },
        n_noise=2,
        average_decay=decay,
        probe_noise=torch.randn(64, 2, dtype=torch.float64, generator=stream(3)),
        **options,
    )


def f(t):
    return softplus(-t)


def batch_of(n_labels, n=7):
    x = torch.randn(n, 3, dtype=torch.float64, generator=stream(4))
    labels = torch.eye(2, dtype=torch.float64)[torch.arange(n) % 2][:, :n_labels]
    return x, labels, (x, labels) if n_labels else (x,)


def descended(network, loss):
    slopes = torch.autograd.grad(loss, list(network.parameters()))
    for p, slope in zip(network.parameters(), slopes, strict=True):
        p.data -= 0.1 * 1.9 * slope  # the first step of Nesterov's momentum


@pytest.mark.parametrize("n_labels", [0, 2])
def test_a_relativistic_step_is_that_of_the_paper_by_autograd(n_labels):
    program = program_of(n_labels)
    x, labels, batch = batch_of(n_labels)
    G, D = copy.deepcopy(program.generator), copy.deepcopy(program.critic)
    noise = torch.empty(14, 2, dtype=torch.float64).normal_(generator=stream(5))

    def penalty(rows):
        rows = rows.detach().requires_grad_(True)
        value = D(torch.cat([rows, labels], 1)).sum()
        (slope,) = torch.autograd.grad(value, rows, create_graph=True)
        return slope.square().sum(1).mean()

    fake = G(torch.cat([noise[:7], labels], 1)).detach()
    real_value = D(torch.cat([x, labels], 1))
    adversarial = f(real_value - D(torch.cat([fake, labels], 1))).mean()
    descended(D, adversarial + 0.35 * (penalty(x) + penalty(fake)))
    fake = G(torch.cat([noise[7:], labels], 1))
    fake_value = D(torch.cat([fake, labels], 1))
    loss = f(fake_value - D(torch.cat([x, labels], 1))).mean()
    descended(G, loss)

    stepped = program.step(batch, stream(5))
    assert float(stepped["critic_loss"]) == pytest.approx(adversarial.item(), rel=1e-9)
    assert float(stepped["loss"]) == pytest.approx(loss.item(), rel=1e-9)
    for mine, theirs in ((program.critic, D), (program.generator, G)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n_labels", [0, 2])
def test_a_hinge_step_is_that_of_the_papers_by_autograd(n_labels):
    program = program_of(n_labels, game=HingeProgram, start=stream(6))
    x, labels, batch = batch_of(n_labels)
    G, D = copy.deepcopy(program.generator), copy.deepcopy(program.critic)
    noise = torch.empty(14, 2, dtype=torch.float64).normal_(generator=stream(5))
    left = [D.get_buffer(f"left_{i}") for i in range(3)]

    def value(rows):
        """Miyato et al., Algorithm 1: sigma = u^T W v, where u and v are constants."""
        out = torch.cat([rows, labels], 1)
        for place, (layer, u) in enumerate(zip(D.layers, left, strict=True)):
            W = layer.weight
            v = (W.t() @ u).detach()
            out = out @ W.t() / (u @ W @ (v / v.norm())) + layer.bias
            if place < 2:
                out = torch.where(out > 0, out, 0.2 * out)
        return out[:, 0]

    for place, layer in enumerate(D.layers):  # one iteration a step
        right = layer.weight.detach().t() @ left[place]
        up = layer.weight.detach() @ (right / right.norm())
        left[place] = up / up.norm()
    fake = G(torch.cat([noise[:7], labels], 1)).detach()
    critic_loss = (1 - value(x)).clamp_min(0).mean()
    critic_loss = critic_loss + (1 + value(fake)).clamp_min(0).mean()
    descended(D, critic_loss)
    loss = -value(G(torch.cat([noise[7:], labels], 1))).mean()
    descended(G, loss)

    stepped = program.step(batch, stream(5))
    assert float(stepped["critic_loss"]) == pytest.approx(critic_loss.item(), rel=1e-9)
    assert float(stepped["loss"]) == pytest.approx(loss.item(), rel=1e-9)
    for mine, theirs in ((program.critic, D), (program.generator, G)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    for mine, u in zip(program.critic.buffers(), left, strict=True):
        torch.testing.assert_close(mine, u, rtol=1e-12, atol=1e-12)


def test_the_average_follows_the_generator():
    program = program_of(0, decay=0.5)
    before = [p.clone() for p in program.average.parameters()]
    program.step((torch.zeros(4, 3, dtype=torch.float64),), stream(5))
    past = 1 / 11  # min(decay, 1 / (1 + 10))
    for start, live, average in zip(
        before,
        program.generator.parameters(),
        program.average.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(average, past * start + (1 - past) * live)


def test_the_average_is_what_is_sampled_from():
    one, other = (
        small(average_decay=decay, validation_fraction=0.0).fit(X)
        for decay in (0.0, 0.999)
    )
    # an average that nobody samples from changes nothing in training
    for a, b in zip(one.critic_.parameters(), other.critic_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not same(weights_of(one), weights_of(other))


@pytest.mark.parametrize("n_labels", [0, 2])
def test_the_probe_is_the_energy_distance_to_samples(n_labels):
    program = program_of(n_labels)
    x = torch.randn(
        9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    labels = torch.eye(2, dtype=torch.float64)[torch.arange(9) % 2][:, :n_labels]
    found = program.validate((x, labels) if n_labels else (x,))
    # the labels of the held-out rows, over and over, for 64 samples
    repeated = labels[torch.arange(64) % 9]
    with torch.no_grad():
        fake = program.average(torch.cat([program.probe_noise, repeated], 1))
    real, drawn = (
        torch.cat([x, labels], 1).numpy(),
        torch.cat([fake, repeated], 1).numpy(),
    )
    expected = (
        2 * cdist(real, drawn).mean()
        - cdist(real, real).sum() / (9 * 8)
        - cdist(drawn, drawn).sum() / (64 * 63)
    )
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(found["loss_error"]) > 0


# ---------------------------------------------------------------------------- samples


def test_constant_columns_are_sampled_as_they_are():
    rows = np.column_stack([X, np.full(120, 0.1), np.full(120, -1e7)])
    drawn = small().fit(rows).sample(300, random_state=0)
    assert_array_equal(drawn[:, 3], np.full(300, np.float32(0.1)))
    assert_array_equal(drawn[:, 4], np.full(300, np.float32(-1e7)))
    assert len(np.unique(drawn[:, 0])) == 300


def test_samples_by_hand():
    gan = small(n_noise=4).fit(X)
    noise = np.random.RandomState(7).standard_normal((5, 4)).astype(np.float32)
    with torch.no_grad():
        rows = gan.generator_(torch.tensor(noise)).numpy()
    expected = rows * X.std(0) + X.mean(0)
    assert_allclose(gan.sample(5, random_state=7), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n_noise", "width"), [(None, 8), (1, 1), (20, 20)])
def test_the_width_of_the_noise(n_noise, width):
    gan = small(n_noise=n_noise).fit(X)
    assert gan.generator_.layers[0].in_features == width
    assert (
        LatentGAN(max_epochs=1).fit(np.tile(X, 4)).generator_.layers[0].in_features
        == 12
    )


def test_score_by_hand():
    gan = small().fit(X)
    rows = X[:40]
    drawn = gan.sample(40, random_state=0).astype(float)
    a, b = rows / X.std(0), drawn / X.std(0)
    expected = 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()
    assert gan.score(rows) == pytest.approx(-expected, rel=1e-6)
    assert gan.score(rows) == gan.score(rows)


def test_score_prefers_the_data_that_it_learned():
    gan = small(max_epochs=60).fit(X)
    assert gan.score(X) > gan.score(X + np.array([3, 15, 0.3]))
    assert gan.score(X) > small(max_epochs=1, learning_rate=1e-9).fit(X).score(X)


def test_score_with_labels_draws_by_them():
    gan = conditional().fit(X, Y)
    drawn = gan.sample(120, y=Y, random_state=0) / X.std(0)
    a = X / X.std(0)
    expected = 2 * cdist(a, drawn).mean() - cdist(a, a).mean()
    expected -= cdist(drawn, drawn).mean()
    assert gan.score(X, Y) == pytest.approx(-expected, rel=1e-6)
    assert gan.score(X) != gan.score(X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        gan.score(X, Y[:7])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_ring_of_eight_gaussians_is_learned_whole(loss, seed):
    rng = np.random.RandomState(seed)
    angles = np.arange(8) * np.pi / 4
    centres = 4 * np.column_stack([np.cos(angles), np.sin(angles)])
    rows = centres[rng.randint(8, size=2000)] + 0.3 * rng.standard_normal((2000, 2))
    gan = LatentGAN(loss=loss, random_state=seed).fit(rows)
    drawn = gan.sample(4000, random_state=seed)
    distances = cdist(drawn, centres)
    shares = np.bincount(distances.argmin(1), minlength=8) / 4000
    # every mode with half its share at least, and most samples at one of them
    assert shares.min() > 1 / 16
    assert (distances.min(1) < 4 * 0.3).mean() > 0.8


# -------------------------------------------------------------------- the hinge game


def test_the_fitted_critic_stretches_nothing():
    gan = small(loss="hinge", hidden_sizes=(16, 8), max_epochs=20).fit(X)
    for layer in gan.critic_.layers:
        values = np.linalg.svd(layer.weight.double().numpy(), compute_uv=False)
        assert values[0] == pytest.approx(1.0, rel=1e-6)
    rows = torch.randn(200, 3, generator=stream(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(gan.critic_(rows).sum(), rows)
    assert float(gradient.norm(dim=1).max()) <= 1 + 1e-5


def test_the_hinge_game_takes_no_gradient_penalty():
    one, other = (
        small(loss="hinge", gradient_penalty=gamma).fit(X) for gamma in (0.0, 9.0)
    )
    assert same(weights_of(one), weights_of(other))
    assert not same(weights_of(one), weights_of(small().fit(X)))


def test_a_game_goes_on_as_the_other():
    gan = small(loss="hinge").fit(X).set_params(loss="relativistic", warm_start=True)
    before = weights_of(gan)
    gan.set_params(max_epochs=1, learning_rate=1e-9).fit(X)
    for a, b in zip(before, weights_of(gan), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_hinge_game_that_was_stopped_ends_as_if_it_had_not(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    straight = small(loss="hinge", max_epochs=6).fit(X)
    gan = small(loss="hinge", max_epochs=6, checkpoint=tmp_path)
    with pytest.raises(RuntimeError, match="stop"):
        gan.set_params(callbacks=stop_at(4, RuntimeError("stop"))).fit(X)
    seen = []
    gan.set_params(callbacks=[lambda row: seen.append(row["epoch"])]).fit(X)
    assert seen == [4, 5, 6]
    assert same(weights_of(gan), weights_of(straight))
    assert_array_equal(gan.history_["critic_loss"], straight.history_["critic_loss"])


# ------------------------------------------------------------------------- truncation


def test_truncated_noise_has_the_law_of_scipy():
    for truncation in (0.3, 1.0, 2.5):
        noise = truncated_normal((2000, 5), truncation, np.random.RandomState(0))
        assert noise.dtype == np.float32
        assert np.abs(noise).max() <= np.float32(truncation)
        law = truncnorm(-truncation, truncation)
        assert kstest(noise.ravel(), law.cdf).pvalue > 0.01
        assert noise.std() == pytest.approx(law.std(), rel=0.03)


@pytest.mark.parametrize(
    ("truncation", "law"), [(1e-8, uniform(-1e-8, 2e-8)), (40.0, norm), (1e300, norm)]
)
def test_truncation_to_nearly_nothing_and_to_nearly_all(truncation, law):
    noise = truncated_normal((4000, 1), truncation, np.random.RandomState(0))
    assert np.isfinite(noise).all()
    assert kstest(noise.ravel(), law.cdf).pvalue > 0.01


def test_the_noise_of_a_row_does_not_depend_on_how_many_are_drawn():
    few, many = (
        truncated_normal((n, 3), 1.0, np.random.RandomState(2)) for n in (4, 900)
    )
    assert_array_equal(few, many[:4])


@pytest.mark.parametrize("loss", LOSSES)
def test_truncation_narrows_the_samples_at_once(loss):
    gan = small(max_epochs=60, loss=loss).fit(X)
    whole = gan.sample(2000, random_state=0)
    before = weights_of(gan)
    spreads = []
    for truncation in (0.1, 0.7, 3.0):
        gan.set_params(truncation=truncation)
        spreads.append(gan.sample(2000, random_state=0).std(0))
        assert_array_equal(
            gan.sample(7, random_state=0), gan.sample(2000, random_state=0)[:7]
        )
    assert (np.diff(spreads, axis=0) > 0).all()
    assert_allclose(spreads[-1], whole.std(0), rtol=0.1)
    assert_array_equal(
        gan.set_params(truncation=None).sample(2000, random_state=0), whole
    )
    assert same(before, weights_of(gan))
    with pytest.raises(ValueError, match=r"truncation must be a number in \(0, inf\)"):
        gan.set_params(truncation=-1.0).sample(3)


def test_fit_does_not_look_at_truncation():
    assert same(weights_of(small(truncation=0.2).fit(X)), weights_of(small().fit(X)))


# ----------------------------------------------------------------------------- labels


def blobs(n=300, seed=0):
    rng = np.random.RandomState(seed)
    codes = rng.randint(3, size=n)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres[codes] + rng.standard_normal((n, 2)), codes


@pytest.mark.parametrize(
    ("names", "loss"),
    [
        (np.arange(3) * 10, "relativistic"),
        (np.array(["a", "bc", "z"]), "relativistic"),
        (np.arange(3) * 10, "hinge"),
    ],
)
def test_samples_obey_their_labels(names, loss):
    rows, codes = blobs()
    labels = names[codes]
    gan = LatentGAN(hidden_sizes=(32, 32), conditional=True, random_state=0)
    gan.set_params(max_epochs=100, loss=loss).fit(rows, labels)
    assert_array_equal(gan.classes_, names)
    judge = KNeighborsClassifier(15).fit(rows, labels)
    wanted = np.repeat(names, 200)
    drawn = gan.sample(y=wanted, random_state=0)
    assert drawn.shape == (600, 2)
    assert (judge.predict(drawn) == wanted).mean() > 0.9
    for name in names:
        one = gan.sample(100, y=name, random_state=0)
        assert (judge.predict(one) == name).mean() > 0.9


def test_labels_without_a_wish_come_by_frequency():
    rows, codes = blobs(600)
    keep = (codes != 2) | (np.arange(600) % 6 == 0)
    rows, codes = rows[keep], codes[keep]
    gan = conditional().fit(rows, codes)
    assert_allclose(gan.class_prior_, np.bincount(codes) / len(codes))
    drawn = gan._codes_for(6000, None, np.random.RandomState(0))
    shares = np.bincount(drawn, minlength=3) / 6000
    # three binomial shares of 6,000: 4 sigma
    error = np.sqrt(gan.class_prior_ * (1 - gan.class_prior_) / 6000)
    assert (np.abs(shares - gan.class_prior_) < 4 * error).all()


def test_a_label_for_all_is_a_label_for_each():
    gan = conditional().fit(X, Y)
    assert_array_equal(
        gan.sample(4, y=2, random_state=0), gan.sample(y=[2] * 4, random_state=0)
    )
    assert gan.sample(y=1).shape == (1, 3)
    assert gan.sample(y=np.array([0, 1])).shape == (2, 3)
    assert gan.sample(y=pd.Series([0, 1, 2])).shape == (3, 3)
    assert gan.sample(y=[0.0, 2.0]).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"y": 7}, r"labels that fit saw, \[0, 1, 2\], got \[7\]"),
        ({"y": [0, -1, 9]}, r"got \[-1, 9\]"),
        ({"y": ["0"]}, "labels that fit saw"),
        ({"y": [np.nan]}, "labels that fit saw"),
        ({"n_samples": 3, "y": [0, 1]}, r"one label or n_samples=3 labels.*\(2,\)"),
        ({"y": [[0, 1]]}, r"one label or n_samples=1 labels.*\(1, 2\)"),
        ({"y": []}, "n_samples must be an int >= 1, got 0"),
    ],
)
def test_labels_that_cannot_be_drawn(options, match):
    with pytest.raises(ValueError, match=match):
        conditional().fit(X, Y).sample(**options)


def test_labels_asked_of_an_unconditional_model():
    with pytest.raises(ValueError, match=r"y=1 was asked of.*Set conditional=True"):
        small().fit(X, Y).sample(y=1)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "needs labels: call fit"),
        (Y[:5], "inconsistent numbers of samples"),
        (np.where(np.arange(120) == 4, 9, Y), r"2 rows of each class at least.*y=.*9"),
        (np.linspace(0, 1, 120), "Unknown label type"),
        (np.column_stack([Y, Y]), "y should be a 1d array"),
        (np.full(120, np.nan), "NaN"),
    ],
)
def test_labels_that_cannot_be_learned(y, match):
    gan = conditional()
    with pytest.raises(ValueError, match=match):
        gan.fit(X, y)
    assert set(vars(gan)) == set(gan.get_params())


def test_one_class_is_enough():
    gan = conditional().fit(X, np.zeros(120))
    assert gan.sample(3, y=0.0).shape == (3, 3)


def test_no_class_is_held_out_whole(monkeypatch):
    seen = []
    step = GANProgram.step

    def spied(self, batch, generator):
        seen.append(batch[1])
        return step(self, batch, generator)

    monkeypatch.setattr(GANProgram, "step", spied)
    y = np.repeat(np.arange(60), 2)  # 60 classes of two rows
    gan = conditional(validation_fraction=0.6, max_epochs=1).fit(X, y)
    assert (torch.cat(seen).sum(0) >= 1).all()
    assert "validation_loss" in gan.history_


# ------------------------------------------------------------------- training, probes


def test_epochs_for_four_steps_a_row_within_bounds():
    gan = LatentGAN(batch_size=10)
    assert gan._enough_epochs(100) == 100  # 1,000 steps, the least
    assert gan._enough_epochs(101) == 91  # 11 steps an epoch
    assert gan._enough_epochs(500) == 40  # 2,000 steps
    assert gan._enough_epochs(1500) == 27  # 4,000 steps, the most
    assert gan._enough_epochs(1_000_000) == 20
    assert LatentGAN(max_epochs=7)._enough_epochs(100) == 7
    stop = [lambda row: row["epoch"] == 2]
    gan = LatentGAN(batch_size=1000, callbacks=stop, schedule="linear").fit(X)
    assert gan.n_epochs_ == 2
    assert gan.max_epochs is None


def test_training_keeps_the_last_generator_as_good_as_the_best():
    gan = small(max_epochs=40, learning_rate=2e-2).fit(X)
    losses = gan.history_["validation_loss"]
    errors = gan.history_["validation_loss_error"]
    best, error, kept = np.inf, 0.0, 0
    for epoch, (loss, own) in enumerate(zip(losses, errors, strict=True), start=1):
        if loss < best + error:
            kept = epoch
        if loss < best:
            best, error = loss, own
    assert gan.best_epoch_ == kept


def test_a_collapsed_generator_is_reported():
    with pytest.warns(CollapseWarning, match=r"energy distance.*Raise max_epochs or"):
        small(max_epochs=1, learning_rate=1e-9).fit(X + 0)


@pytest.mark.filterwarnings("error::manifoldgen.exceptions.CollapseWarning")
@pytest.mark.parametrize("loss", LOSSES)
def test_a_sound_generator_is_not(loss):
    small(max_epochs=150, hidden_sizes=(32,), loss=loss).fit(X)


def test_without_validation_there_is_no_probe():
    gan = small(validation_fraction=0.0).fit(X)
    assert set(gan.history_) == {"epoch", "loss", "critic_loss", "seconds"}
    assert gan.best_epoch_ == 3
    few = small().fit(X[:12])  # one held-out row has no distance to others
    assert "validation_loss" not in few.history_


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_trains(schedule):
    assert np.isfinite(small(schedule=schedule).fit(X).score(X))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_warm_start_goes_on(loss):
    gan = small(max_epochs=40, loss=loss).fit(X)
    before = weights_of(gan)
    gan.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(X + 1)
    for a, b in zip(before, weights_of(gan), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert_allclose(gan.mean_, X.mean(0))  # units stay those of the weights
    with pytest.raises(ValueError, match="networks of the same shapes"):
        gan.fit(X[:, :2])
    assert gan.sample(2).shape == (2, 3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_outlier_does_not_look_like_divergence():
    for seed in range(5):
        rows = np.random.RandomState(seed).standard_normal((300, 3))
        rows[seed] *= 1e6
        gan = small(random_state=seed, validation_fraction=0.3).fit(rows)
        assert np.isfinite(gan.sample(100)).all()


@pytest.mark.parametrize("changes", [{}, {"conditional": True}, {"loss": "hinge"}])
def test_a_learning_rate_of_a_million(changes):
    gan = small(**changes).fit(X, Y)
    gan.set_params(learning_rate=1e6)
    before = dict(vars(gan))
    try:
        gan.fit(X, Y)
    except TrainingDivergedError:
        assert vars(gan) == before
    assert np.isfinite(gan.sample(50)).all()
    assert np.isfinite(gan.score(X))


def stop_at(epoch, error):
    def callback(row):
        if row["epoch"] == epoch:
            raise error

    return [callback]


@pytest.mark.parametrize("validation_fraction", [0.0, 0.2])
@pytest.mark.parametrize("fitted_before", [False, True])
def test_ctrl_c_keeps_the_best_generator(validation_fraction, fitted_before):
    gan = conditional(validation_fraction=validation_fraction, max_epochs=20)
    if fitted_before:
        gan.set_params(hidden_sizes=(3,)).fit(X[:, :2], Y % 2)
    gan.set_params(hidden_sizes=(8,), callbacks=stop_at(4, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gan.fit(X, Y)
    stopped = conditional(validation_fraction=validation_fraction, max_epochs=20)
    stopped.set_params(callbacks=[lambda row: row["epoch"] == 4]).fit(X, Y)
    assert same(weights_of(gan), weights_of(stopped))
    assert set(vars(gan)) == set(vars(stopped))
    assert gan.n_epochs_ == 4
    assert_array_equal(gan.sample(5, random_state=0), stopped.sample(5, random_state=0))


def test_ctrl_c_in_the_first_epoch(monkeypatch):
    def interrupted(self, batch, generator):
        raise KeyboardInterrupt

    monkeypatch.setattr(GANProgram, "step", interrupted)
    gan = small()
    with pytest.raises(KeyboardInterrupt):
        gan.fit(X)
    assert gan.n_epochs_ == gan.best_epoch_ == 0
    assert gan.sample(3).shape == (3, 3)
    pickle.loads(pickle.dumps(gan))


@pytest.mark.parametrize("fitted_before", [False, True])
def test_a_callback_that_raises_leaves_all_as_it_was(fitted_before):
    gan = small()
    if fitted_before:
        gan.fit(X)
    gan.set_params(callbacks=stop_at(2, RuntimeError("from the callback")))
    before = dict(vars(gan))
    with pytest.raises(RuntimeError, match="from the callback"):
        gan.fit(X[:, :2])
    assert vars(gan) == before


def test_an_unconditional_fit_forgets_the_labels():
    gan = conditional().fit(X, Y).set_params(conditional=False).fit(X)
    assert not hasattr(gan, "classes_")
    assert not hasattr(gan, "class_prior_")
    assert same(weights_of(gan), weights_of(small().fit(X)))


@pytest.mark.parametrize(
    ("losses", "error", "stopped_by", "warns"),
    [
        ([3.0, 2.0, 1.0], 0.5, "max_epochs", True),
        ([3.0, 2.0, 1.0], 1.5, "max_epochs", False),  # within the error of the best
        ([3.0, 2.0, 1.99], 0.0, "max_epochs", False),  # by less than 1 %
        ([3.0, 2.0, 1.0], 0.5, "patience", False),
        ([3.0, 1.0, 2.0], 0.0, "max_epochs", False),
        ([1.0], 0.0, "max_epochs", False),
        ([-1.0, -2.0], 0.5, "max_epochs", True),
    ],
)
def test_a_warning_where_epochs_end_while_the_probe_falls(
    losses, error, stopped_by, warns
):
    history = History(
        [{"validation_loss": loss, "validation_loss_error": error} for loss in losses]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_unconverged(Outcome(history, 1, stopped_by, None), "validation_loss")
    assert [it.category for it in caught] == [ConvergenceWarning] * warns


@pytest.mark.parametrize("method", ["sample", "score"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(LatentGAN(), method)(*([X] if method == "score" else []))


INVALID = [
    ("n_noise", 0, ValueError),
    ("n_noise", 2.5, TypeError),
    ("hidden_sizes", (0,), ValueError),
    ("hidden_sizes", 8, TypeError),
    ("conditional", "yes", TypeError),
    ("loss", "wasserstein", ValueError),
    ("loss", None, ValueError),
    ("gradient_penalty", -1.0, ValueError),
    ("gradient_penalty", None, TypeError),
    ("truncation", 0.0, ValueError),
    ("truncation", np.inf, ValueError),
    ("truncation", "1", TypeError),
    ("constraint", "0.95", TypeError),
    ("average_decay", 1.0, ValueError),
    ("average_decay", -0.1, ValueError),
    ("learning_rate", 0.0, ValueError),
    ("schedule", "step", ValueError),
    ("batch_size", 0, ValueError),
    ("max_epochs", 0, ValueError),
    ("max_epochs", 1.5, TypeError),
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


def test_every_parameter_has_an_invalid_value_here():
    assert {name for name, *_ in INVALID} == set(small().get_params())


@pytest.mark.parametrize(("name", "value", "error"), INVALID)
def test_invalid_parameters_say_name_rule_and_value(name, value, error):
    gan = small(**{name: value})
    with pytest.raises(error) as caught:
        gan.fit(X, Y)
    text = str(caught.value)
    assert text.startswith(name)
    assert " must " in text
    assert repr(value) in text
    assert set(vars(gan)) == set(gan.get_params())


@pytest.mark.parametrize(
    "labels",
    [
        [np.nan] * 3 + ["a"] * 57,
        [None] + ["a"] * 59,
        np.r_[np.nan, np.zeros(59)],
    ],
    ids=["list", "None", "floats"],
)
def test_missing_labels_are_counted(labels):
    with pytest.raises(ValueError, match=r"y must hold a label for each row, got [13]"):
        LatentGAN(conditional=True, max_epochs=1).fit(X[: len(labels)], labels)


def test_a_coarse_float32_column_is_no_constant():
    rows = (X * [0.5, 0.1, 5.0] + 1e6).astype(np.float32)
    with pytest.warns(UserWarning, match="float32"):
        gan = LatentGAN(max_epochs=1, random_state=0).fit(rows)
    assert (gan.scale_ > 0.1).all()


def test_a_fitted_gan_keeps_its_noise_and_labels():
    gan = small().fit(X)
    before = gan.sample(5, random_state=0)
    gan.set_params(n_noise=20, conditional=True)
    assert_array_equal(gan.sample(5, random_state=0), before)


def test_the_probe_of_sorted_rows_sees_all_of_them():
    rows = np.repeat(np.arange(3.0), 5000)[:, None] + [[0.0, 0.0]]
    held = small()._split(len(rows), np.random.RandomState(0))[1][:1024]
    assert np.bincount(rows[held, 0].astype(int)).min() > 100
