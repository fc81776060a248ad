"""AdversarialAutoencoderManifold: priors that codes reach, and terms by hand."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from manifoldgen import (
    AdversarialAutoencoderManifold,
    AutoencoderManifold,
    energy_distance,
    neighbor_recall,
    precision_recall_density_coverage,
)
from manifoldgen.exceptions import CollapseWarning, TrainingDivergedError
from manifoldgen.manifold import AdversarialProgram, DataGame, LatentGame
from manifoldgen.nn import MLP, Critic
from manifoldgen.nn.games import GAMES, critic_loss, generator_loss
from manifoldgen.nn.images import ImageCritic
from manifoldgen.nn.losses import mean_squared_error
from manifoldgen.training import make_optimizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::manifoldgen.exceptions.CollapseWarning"),
]

DIGITS = np.random.RandomState(1).permutation(load_digits().data)
DIGITS.setflags(write=False)
X = DIGITS[:200]
WEIGHTS = ("prior_weight", "sharpening_weight", "neighbor_weight")
OFF = {**dict.fromkeys(WEIGHTS, 0.0), "latent_noise": 0.0}
ALL = dict.fromkeys(WEIGHTS, 0.1)


def small(**changes):
    parameters = {"n_components": 3, "hidden_sizes": (16,), "critic_sizes": (16,)}
    parameters |= {"max_epochs": 3, "random_state": 0}
    return AdversarialAutoencoderManifold(**{**parameters, **changes})


def weights_of(module):
    return [p.detach().clone() for p in module.parameters()]


def distance(one, other):
    """Return the largest difference of two modules' weights."""
    pairs = zip(weights_of(one), weights_of(other), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def gaussian(n, width, seed=0):
    return np.random.RandomState(seed).standard_normal((n, width))


# ---------------------------------------------------------------- what it is to learn


@pytest.fixture(scope="module")
def learned():
    """A manifold of 1,400 digits; not to be changed."""
    manifold = AdversarialAutoencoderManifold(8, max_epochs=60, random_state=0)
    return manifold.fit(DIGITS[:1400])


def test_codes_of_new_rows_follow_the_prior(learned):
    held, prior = DIGITS[1400:], gaussian(2000, 8)
    plain = AutoencoderManifold(8, whiten=True, max_epochs=60, random_state=0)
    plain.fit(DIGITS[:1400])
    white = energy_distance(plain.transform(held), prior)
    assert energy_distance(learned.transform(held), prior) < 0.7 * white
    assert learned.score(held) > plain.score(held) - 0.05


def test_samples_are_near_the_data_and_all_over_it(learned):
    held = DIGITS[1400:]
    drawn = learned.sample(397, random_state=0)
    found = precision_recall_density_coverage(held, drawn)
    assert found.precision > 0.6
    assert found.coverage > 0.5


def test_uniform_codes_have_no_tails(learned):
    def flatness(Z):
        return ((Z**4).mean(0) / np.square((Z**2).mean(0))).mean()

    manifold = small(n_components=2, prior="uniform", prior_weight=1.0, max_epochs=40)
    manifold.set_params(learning_rate=1e-2, batch_size=64, gradient_penalty=0.1)
    manifold.fit(DIGITS[:600])
    # 9 / 5 of a uniform variable, 3 of a normal one
    uniform = flatness(manifold.transform(DIGITS[600:1000]))
    assert uniform < 2.5 < flatness(learned.transform(DIGITS[1400:]))


def test_neighbours_stay_nearer():
    def recall(weight):
        manifold = small(n_components=2, neighbor_weight=weight, max_epochs=40)
        manifold.set_params(validation_fraction=0.0).fit(DIGITS[:500])
        return neighbor_recall(
            DIGITS[:500], manifold.transform(DIGITS[:500]), n_neighbors=10
        )

    assert recall(1.0) > recall(0.0) + 0.03


# ------------------------------------------------------------------------------ terms


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2}, {"validation_fraction": 0}])
def test_without_its_terms_it_is_an_autoencoder(changes):
    mine = small(**OFF, **changes).fit(X)
    plain = AutoencoderManifold(3, hidden_sizes=(16,), max_epochs=3, random_state=0)
    plain.set_params(**changes).fit(X)
    assert_allclose(mine.history_["loss"], plain.history_["loss"], rtol=1e-6)
    assert_allclose(mine.transform(X), plain.transform(X), rtol=1e-5, atol=1e-6)
    assert not hasattr(mine, "critic_")
    assert not hasattr(mine, "data_critic_")
    assert not {"prior", "neighbors", "sharpening"} & set(mine.history_)


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_term_has_its_figures_and_acts(name):
    plain, one = small(**OFF).fit(X), small(**{**OFF, name: 0.1}).fit(X)
    figure = {"neighbor_weight": "neighbors"}.get(name, name.removesuffix("_weight"))
    assert np.isfinite(one.history_[figure]).all()
    assert one.history_["loss"] == pytest.approx(
        one.history_["reconstruction"] + 0.1 * one.history_[figure]
    )
    assert distance(plain.decoder_, one.decoder_) > 1e-4
    assert hasattr(one, "critic_") == (name == "prior_weight")
    assert hasattr(one, "data_critic_") == (name == "sharpening_weight")


def game_of(kind, width, game="relativistic", gradient_penalty=0.5, **options):
    critic = Critic(width, (8,), torch.Generator().manual_seed(5))
    chosen = make_optimizer("sgd", critic.parameters(), 0.1)
    return kind(critic, chosen, game, gradient_penalty, **options)


def program_of(game="relativistic", explicit=True, **weights):
    generator = torch.Generator().manual_seed(0)
    networks = MLP((6, 5, 2), generator=generator), MLP((2, 5, 6), generator=generator)
    parameters = [p for network in networks for p in network.parameters()]
    weights = {"prior_weight": 0.3, "sharpening_weight": 0.2, **weights}
    program = AdversarialProgram(
        *networks,
        make_optimizer("sgd", parameters, 0.1),
        mean_squared_error if explicit else F.mse_loss,
        draw=lambda n, source: torch.empty(n, 2).normal_(generator=source),
        probe=torch.randn(50, 2, generator=generator),
        latent_game=game_of(LatentGame, 2, game),
        data_game=game_of(DataGame, 6, game, squash=torch.sigmoid),
        reconstruction_weight=0.7,
        neighbor_weight=weights.pop("neighbor_weight", 0.4),
        neighborhood=lambda heads, tails: (heads - tails).square().mean(),
        latent_noise=0.1,
        noise=0.2,
        **weights,
    )
    return program, networks


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_a_step_of_all_terms_by_autograd(game, explicit):
    program, networks = program_of(game, explicit)
    encoder, decoder = copy.deepcopy(networks)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))  # 4 with 4 others
    found = program.step((x,), torch.Generator().manual_seed(2))
    source = torch.Generator().manual_seed(2)
    seen = x + 0.2 * torch.empty(8, 6).normal_(generator=source)
    noise = 0.1 * torch.empty(4, 2).normal_(generator=source)
    real = torch.empty(4, 2).normal_(generator=source)
    if game == "wgan-gp":  # the places of its penalty
        torch.empty(4, 1).uniform_(generator=source)
    drawn = torch.empty(4, 2).normal_(generator=source)
    z = encoder(seen)
    output = decoder(torch.cat([z[:4] + noise, drawn]))
    rows = F.mse_loss(output[:4], x[:4])
    near = (z[:4] - z[4:]).square().mean()
    critic, data_critic = program.latent_game.critic, program.data_game.critic
    codes = generator_loss(game, critic(z[:4] + noise), critic(real))
    sharp = generator_loss(
        game, data_critic(torch.sigmoid(output[4:])), data_critic(x[:4])
    )
    expected = 0.7 * rows + 0.3 * codes + 0.2 * sharp + 0.4 * near
    assert float(found["loss"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    expected.backward()
    for mine, theirs in zip(networks, (encoder, decoder), strict=True):
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            by_hand = q - 0.1 * 1.9 * q.grad  # the first Nesterov step
            torch.testing.assert_close(p, by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("game", [game for game in GAMES if game != "wgan-gp"])
@pytest.mark.parametrize("kind", [LatentGame, DataGame])
def test_a_step_of_a_critic_by_autograd(game, kind):
    options = {"squash": torch.sigmoid} if kind is DataGame else {}
    mine = game_of(kind, 3, game, **options)
    critic = copy.deepcopy(mine.critic)
    real, fake = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1))
    loss_name = "critic_loss" if kind is LatentGame else "sharpening_loss"
    found = mine.update(real, fake, torch.Generator())[loss_name]
    if kind is DataGame:
        fake = torch.sigmoid(fake)
    both = torch.cat([real, fake]).requires_grad_(True)
    values = critic(both)
    (slopes,) = torch.autograd.grad(values.sum(), both, create_graph=True)
    squares = slopes.square().sum(1)
    loss = critic_loss(game, values[:7], values[7:])
    loss = loss + 0.5 * 0.5 * (squares[:7].mean() + squares[7:].mean())
    assert float(found) == pytest.approx(float(loss.detach()), rel=1e-5)
    loss.backward()
    for p, q in zip(mine.critic.parameters(), critic.parameters(), strict=True):
        gradient = torch.zeros_like(q) if q.grad is None else q.grad
        torch.testing.assert_close(p, q - 0.19 * gradient, rtol=1e-4, atol=1e-6)


def image_game(penalty_interval):
    generator = torch.Generator().manual_seed(5)
    critic = ImageCritic((1, 4, 4), (3,), (5,), generator=generator)
    return DataGame(
        critic,
        make_optimizer("sgd", critic.parameters(), 0.1),
        "relativistic",
        0.5,
        squash=torch.tanh,
        penalty_interval=penalty_interval,
    )


def test_a_penalty_now_and_then_counts_as_much_more():
    real, output = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
    game, by_hand = image_game(3), image_game(1)
    for step in range(5):
        by_hand.gradient_penalty = 0.5 * 3 if step % 3 == 0 else 0.0
        found = game.update(real, output, torch.Generator())["sharpening_loss"]
        again = by_hand.update(real, output, torch.Generator())["sharpening_loss"]
        assert float(found) == float(again)
        assert distance(game.critic, by_hand.critic) == 0
    assert game.n_steps == 5


def test_slopes_of_an_image_critic_are_those_of_autograd():
    real, output = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
    mine, theirs = image_game(1), image_game(1)
    theirs.critic.input_gradient = None  # differentiates twice
    found = mine.update(real, output, torch.Generator())["sharpening_loss"]
    again = theirs.update(real, output, torch.Generator())["sharpening_loss"]
    assert float(found) == pytest.approx(float(again), rel=1e-6)
    assert distance(mine.critic, theirs.critic) < 1e-6


def test_gradients_reach_every_network():
    before = small(**ALL, learning_rate=1e-30, max_epochs=1).fit(X)
    after = small(**ALL, max_epochs=1, validation_fraction=0.1).fit(X)
    for name in ("encoder_", "decoder_", "critic_", "data_critic_"):
        parts = zip(
            getattr(before, name).parameters(),
            getattr(after, name).parameters(),
            strict=True,
        )
        # the last bias of a critic moves both sides of a pair alike
        moved = [float((a - b).detach().abs().max()) > 0 for a, b in parts]
        assert all(moved[:-1]), name


def test_what_is_validated_by_hand():
    program, (encoder, decoder) = program_of()
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    found = program.validate((x,))
    with torch.no_grad():
        z = encoder(x)
        rows = F.mse_loss(decoder(z), x)
    across = cdist(z, program.probe).mean()
    among = cdist(z, z).sum() / (30 * 29)
    spread = cdist(program.probe, program.probe).sum() / (50 * 49)
    away = 2 * across - among - spread
    assert float(found["prior_distance"]) == pytest.approx(away, rel=1e-4)
    assert float(found["reconstruction"]) == pytest.approx(float(rows), rel=1e-5)
    assert float(found["loss"]) == pytest.approx(
        0.7 * float(rows) + 0.3 * float(found["prior_distance"]), rel=1e-5
    )


@pytest.mark.parametrize("game", GAMES)
def test_every_game_moves_codes_to_the_prior(game):
    source = torch.Generator().manual_seed(0)
    codes = (2.0 + 0.3 * torch.empty(256, 2).normal_(generator=source)).requires_grad_()
    critic = Critic(2, (32,), source)
    chosen = make_optimizer("adam", critic.parameters(), 1e-2, betas=(0.0, 0.99))
    rules = LatentGame(critic, chosen, game, 10.0 if game == "wgan-gp" else 0.3)
    optimizer = torch.optim.Adam([codes], 2e-2, betas=(0.0, 0.99))
    for _ in range(300):
        real = torch.empty(256, 2).normal_(generator=source)
        for _ in range(3 if game == "wgan-gp" else 1):
            rules.update(real, codes.detach(), source)
        _, codes.grad = rules.slope(codes.detach(), real)
        optimizer.step()
    found = codes.detach().numpy()
    assert abs(found.mean(0)).max() < 0.4
    assert abs(found.std(0) - 1.0).max() < 0.4


@pytest.mark.parametrize("game", GAMES)
def test_every_game_is_played(game):
    manifold = small(critic_loss=game, sharpening_weight=0.01).fit(X)
    assert np.isfinite(manifold.history_["loss"]).all()
    assert np.isfinite(manifold.sample(5, random_state=0)).all()


# --------------------------------------------------------------------- what it answers


def test_samples_are_decoded_draws_of_the_prior():
    manifold = small().fit(X)
    Z = np.random.RandomState(3).standard_normal((7, 3)).astype(np.float32)
    drawn = manifold.sample(7, random_state=3)
    varies = np.ptp(X, axis=0) > 0
    decoded = manifold.inverse_transform(Z)
    assert_array_equal(drawn[:, varies], decoded[:, varies])
    assert_array_equal(drawn[:, ~varies], 0.0 * decoded[:, ~varies])
    assert drawn.dtype == np.float32
    assert_array_equal(manifold.sample(4, random_state=3), drawn[:4])
    assert not np.array_equal(manifold.sample(4), manifold.sample(4))
    with pytest.raises(ValueError, match=r"y=3 was asked of .* learns no labels"):
        manifold.sample(2, y=3)


def test_the_prior_of_a_fit_is_sampled_from():
    manifold = small(prior="uniform").fit(X).set_params(prior="normal")
    edge = np.sqrt(3.0)
    decoded = manifold.inverse_transform(
        np.random.RandomState(0).uniform(-edge, edge, (5, 3))
    )
    varies = np.ptp(X, axis=0) > 0
    drawn = manifold.sample(5, random_state=0)
    assert_allclose(drawn[:, varies], decoded[:, varies], rtol=1e-4, atol=1e-4)


def test_images_of_bytes_by_convolutions():
    images = (DIGITS[:60].reshape(-1, 8, 8) * 15).astype(np.uint8)
    options = {"architecture": "conv", "channels": (4, 4), "loss": "bce"}
    manifold = small(**options, **ALL, augment=["shift"]).fit(images)
    drawn = manifold.sample(3, random_state=0)
    assert drawn.shape == (3, 8, 8)
    assert 0 <= drawn.min() <= drawn.max() <= 255
    floats = small(**options, **ALL, augment=["shift"]).fit(images / 255.0)
    assert_allclose(
        floats.history_["loss"], manifold.history_["loss"], rtol=1e-3, atol=1e-4
    )


class Own(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, 8), nn.BatchNorm1d(8))
        self.last = nn.Linear(8, n_out)

    def forward(self, x):
        return self.last(self.layers(x).relu())


def test_networks_of_your_own():
    manifold = small(encoder=Own, decoder=Own, **ALL).fit(X)
    assert isinstance(manifold.encoder_, Own)
    assert manifold.sample(3, random_state=0).shape == (3, 64)
    again = small(encoder=Own, decoder=Own, **ALL).fit(X)
    assert distance(manifold.encoder_, again.encoder_) == 0


def test_half_precision_learns():
    manifold = small(precision="bf16", **ALL).fit(X)
    assert np.isfinite(manifold.history_["loss"]).all()
    assert manifold.transform(X).dtype == np.float32


# ---------------------------------------------------------------------- runs and stops


class Killed(Exception):
    pass


@pytest.mark.parametrize("weights", [ALL, {"sharpening_weight": 0.1}])
def test_a_killed_fit_resumes_bit_for_bit(tmp_path, weights):
    def kill(row):
        if row["epoch"] == 3:
            raise Killed

    straight = small(**weights, max_epochs=5).fit(X)
    stored = small(**weights, max_epochs=5, checkpoint=tmp_path)
    with pytest.raises(Killed):
        stored.set_params(callbacks=[kill]).fit(X)
    stored.set_params(callbacks=None).fit(X)
    for name in ("encoder_", "decoder_", "critic_", "data_critic_"):
        assert distance(getattr(straight, name), getattr(stored, name)) == 0


def test_a_stream_goes_on_with_all_moments():
    straight, stored = small(**ALL), small(**ALL)
    for part in np.array_split(X, 3):
        straight.partial_fit(part)
        stored = pickle.loads(pickle.dumps(stored.partial_fit(part)))
    assert distance(straight.critic_, stored.critic_) == 0
    assert distance(straight.decoder_, stored.decoder_) == 0
    assert straight.n_epochs_ == 3
    straight.partial_fit(X[:1])


def test_a_warm_start_takes_the_critics_along():
    manifold = small(**ALL, warm_start=True).fit(X)
    before = copy.deepcopy(manifold)
    manifold.set_params(learning_rate=1e-30, max_epochs=1).fit(X)
    for name in ("encoder_", "critic_", "data_critic_"):
        assert distance(getattr(manifold, name), getattr(before, name)) < 1e-20
    manifold.set_params(checkpoint=None, sharpening_weight=0.0)
    with pytest.raises(ValueError, match="Training on from fitted weights"):
        manifold.fit(X)


@pytest.mark.filterwarnings("error::manifoldgen.exceptions.CollapseWarning")
def test_a_critic_that_wins_is_reported():
    options = {"critic_sizes": (64,), "learning_rate": 1e-2, "max_epochs": 40}
    losing = small(prior_weight=1e-6, n_components=16, **options)
    with pytest.warns(CollapseWarning, match="tells .*% of them from the prior"):
        losing.fit(X)
    small(prior_weight=1.0, n_components=2, **options).fit(X)


def test_divergence_keeps_the_estimator():
    manifold = small().fit(X)
    before = dict(vars(manifold))
    manifold.set_params(learning_rate=1e6, optimizer="sgd", max_epochs=5)
    with pytest.raises(TrainingDivergedError):
        manifold.fit(X)
    assert manifold.encoder_ is before["encoder_"]
    assert manifold.history_ is before["history_"]


@pytest.mark.parametrize(
    ("parameter", "value", "error", "match"),
    [
        ("prior", "cauchy", ValueError, "'normal', 'uniform', got 'cauchy'"),
        ("prior_weight", -1.0, ValueError, r"prior_weight must be .* got -1.0"),
        ("sharpening_weight", "a", TypeError, "sharpening_weight must be"),
        ("neighbor_weight", np.nan, ValueError, "neighbor_weight must be"),
        ("reconstruction_weight", -0.1, ValueError, "reconstruction_weight must be"),
        ("gradient_penalty", -1, ValueError, "gradient_penalty must be"),
        ("sharpening_penalty", -1, ValueError, "sharpening_penalty must be"),
        ("latent_noise", -1, ValueError, "latent_noise must be"),
        ("n_neighbors", 0, ValueError, "n_neighbors must be an int >= 1, got 0"),
        ("critic_sizes", (0,), ValueError, "critic_sizes must be"),
        ("critic_loss", "mse", ValueError, "'relativistic', .* got 'mse'"),
        ("n_components", 65, ValueError, "n_features=64"),
    ],
)
def test_parameters_out_of_range(parameter, value, error, match):
    with pytest.raises(error, match=match):
        small(**{parameter: value}).fit(X)
