"""A manifold and a generator in one: the stages, the game, and what is kept of it."""

import copy
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from manifoldgen import (
    AutoencoderManifold,
    JointGenerator,
    LatentFlowMatching,
    LatentGAN,
    LatentMixture,
    LatentNormalizingFlow,
    NeighborManifold,
    energy_distance,
    make_generative_pipeline,
)
from manifoldgen.generation._joint_program import JointProgram, Way, _energy
from manifoldgen.generation._joint_tuning import Tuning
from manifoldgen.nn import MLP, Critic
from manifoldgen.pipeline import drawable_labels
from manifoldgen.training import make_optimizer

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
    "ignore:The graph of neighbours falls into",
)

SHORT = {"max_epochs": 2, "random_state": 0}
MANIFOLD = AutoencoderManifold(3, hidden_sizes=(16,), **SHORT)
GAN = LatentGAN(hidden_sizes=(16,), **SHORT)
FLOW = LatentFlowMatching(hidden_sizes=(16,), n_steps=2, solver="euler", **SHORT)
SPLINES = LatentNormalizingFlow(n_transforms=2, hidden_sizes=(8,), n_bins=3, **SHORT)
JOINT = {"fine_tune_epochs": 2, "critic_sizes": (16,), "random_state": 0}

X, Y = load_digits(return_X_y=True)
X, Y = X[:300], Y[:300] % 3
X = X[:, X.std(axis=0) > 0]

TUNED = {
    "gan": GAN,
    "conditional gan": clone(GAN).set_params(conditional=True),
    "hinge gan": clone(GAN).set_params(loss="hinge"),
    "flow": FLOW,
    "conditional flow": clone(FLOW).set_params(conditional=True, guidance=1.5),
    "spline flow": SPLINES,
    "conditional spline flow": clone(SPLINES).set_params(conditional=True),
}
FIXED = {
    "mixture": LatentMixture(2, random_state=0),
    "conditional mixture": LatentMixture(2, conditional=True, random_state=0),
    "GaussianMixture": GaussianMixture(2, random_state=0),
    "KernelDensity": KernelDensity(bandwidth=0.3),
}


def joint(generator=GAN, manifold=MANIFOLD, **parameters):
    return JointGenerator(manifold, generator, **{**JOINT, **parameters})


def without_choice(estimator):
    """Keep what tuning gives, better or not."""
    return estimator.set_params(validation_fraction=0.0)


def weights_of(module):
    return {name: part.numpy() for name, part in module.state_dict().items()}


def are_equal(one, other):
    ours, theirs = weights_of(one), weights_of(other)
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)


# ---------------------------------------------------------------------------- stages


@pytest.mark.parametrize("name", ["conditional gan", "flow", "GaussianMixture"])
def test_without_tuning_it_is_the_stages_bit_by_bit(name):
    generator = {**TUNED, **FIXED}[name]
    staged = make_generative_pipeline(MANIFOLD, generator).fit(X, Y)
    found = joint(generator, fine_tune_epochs=0).fit(X, Y)
    assert_array_equal(found.transform(X), staged[:-1].transform(X), strict=True)
    assert_array_equal(
        found.sample(50, random_state=1), staged.sample(50, random_state=1)
    )
    assert found.n_epochs_ == found.best_epoch_ == 0
    assert len(found.history_.rows) == 0


def test_parts_that_have_no_seed_get_one_of_ours_and_others_keep_theirs():
    parts = clone(MANIFOLD).set_params(random_state=None), GAN
    one, same, other = (
        JointGenerator(*parts, fine_tune_epochs=0, random_state=seed).fit(X)
        for seed in (3, 3, 4)
    )
    assert_array_equal(one.transform(X), same.transform(X))
    assert not np.array_equal(one.transform(X), other.transform(X))
    assert one.generator_.random_state == other.generator_.random_state == 0
    assert parts[0].random_state is None
    assert not hasattr(parts[1], "generator_")


def test_parts_whose_device_is_open_get_ours():
    found = joint(device="cpu", fine_tune_epochs=0).fit(X)
    assert found.manifold_.device == found.generator_.device == "cpu"


def test_the_parts_by_default():
    found = JointGenerator()._check_parameters()
    assert found is None
    assert JointGenerator().manifold is None
    assert isinstance(JointGenerator()._generator_or_default(), LatentGAN)


def test_constant_columns_are_sampled_as_the_constant():
    rows = np.hstack([X[:, :9], np.full((len(X), 1), 7.25)])
    drawn = without_choice(joint()).fit(rows).sample(20)
    assert_array_equal(drawn[:, -1], np.float32(7.25))


# ---------------------------------------------------------------------------- tuning


@pytest.mark.parametrize("name", [*TUNED, *FIXED])
def test_what_tuning_moves_and_what_it_does_not(name):
    generator = {**TUNED, **FIXED}[name]
    staged = joint(generator, fine_tune_epochs=0).fit(X, Y)
    tuned = without_choice(joint(generator)).fit(X, Y)
    assert_array_equal(tuned.transform(X), staged.transform(X))
    assert are_equal(tuned.manifold_.encoder_, staged.manifold_.encoder_)
    assert not are_equal(tuned.manifold_.decoder_, staged.manifold_.decoder_)
    ours, theirs = (
        it.generator_.sample(9, random_state=0)
        if name not in ("GaussianMixture", "KernelDensity")
        else np.zeros(1)
        for it in (tuned, staged)
    )
    assert np.array_equal(ours, theirs) == (name in FIXED)
    assert np.isfinite(tuned.sample(20, random_state=0)).all()
    assert tuned.best_epoch_ == tuned.n_epochs_ == 2
    own = "flow" in name
    assert ("generator_loss" in tuned.history_) == own


def test_the_decoder_alone_can_be_tuned():
    staged = joint(FLOW, fine_tune_epochs=0).fit(X)
    tuned = without_choice(joint(FLOW, tune_generator=False)).fit(X)
    assert are_equal(tuned.generator_.field_, staged.generator_.field_)
    assert not are_equal(tuned.manifold_.decoder_, staged.manifold_.decoder_)


@pytest.mark.parametrize(
    "manifold",
    [
        clone(MANIFOLD).set_params(whiten=True),
        clone(MANIFOLD).set_params(loss="bce"),
        NeighborManifold(2, n_neighbors=8, hidden_sizes=(16,), **SHORT),
    ],
    ids=["whitened", "cross-entropy", "neighbours"],
)
def test_the_way_in_training_is_the_way_of_sampling(manifold):
    rows = X / 16
    found = joint(FLOW, manifold, fine_tune_epochs=0).fit(rows)
    noise = np.random.RandomState(0).standard_normal((5, found.n_components_))
    units = found.generator_._draw_units(torch.tensor(noise, dtype=torch.float32), [])
    tuning = Tuning(found.manifold_, found.generator_, "cpu")
    way = tuning.way(*tuning.trained)
    decoded = way.rows(units).detach().double().numpy()
    ours = decoded * found.manifold_.scale_ + found.manifold_.shift_

    class Fixed:
        standard_normal = staticmethod(lambda shape: noise)

    Z = found.generator_._sample(5, None, Fixed())
    assert_allclose(ours, found.manifold_.inverse_transform(Z), rtol=1e-4, atol=1e-4)
    # real latents are what the reconstruction is learned on
    real = tuning.tensors(rows, found.transform(rows), None, None)[1]
    ours = way.rows(real).detach().double().numpy()
    ours = ours * found.manifold_.scale_ + found.manifold_.shift_
    expected = found.inverse_transform(found.transform(rows))
    assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def program_of(own_loss=None, **options):
    """Return a program of one linear decoder and one linear generator."""
    source = torch.Generator().manual_seed(0)
    decoders = [MLP((2, 3), generator=source) for _ in range(2)]
    networks = [MLP((4, 2), generator=source) for _ in range(2)]
    affine = torch.tensor([[2.0, 0.0], [0.5, 1.0]]), torch.tensor([1.0, -1.0])
    ways = [
        Way(decoder, affine, torch.tanh, network, lambda z, labels, n=network: n(z))
        for decoder, network in zip(decoders, networks, strict=True)
    ]
    critic = Critic(3, (5,), source)
    modules = {"decoder": decoders[0], "generator": networks[0], "critic": critic}
    optimizers = {
        name: make_optimizer("sgd", module.parameters(), 1.0)
        for name, module in modules.items()
    }
    settings = {
        "loss": F.mse_loss,
        "own_loss": own_loss,
        "noise_for": lambda n, labels, g: torch.empty(n, 4).normal_(generator=g),
        "prepare": lambda x: x - 1.0,
        "to_critic": (torch.tensor([0.5, 0.0, 0.0]), torch.tensor(2.0)),
        "conditional": False,
        "probe_seed": 0,
        "gradient_penalty": 0.7,
        "reconstruction_weight": 0.3,
        "generator_weight": 0.2,
        "average_decay": 0.5,
        "foreign": False,
        **options,
    }
    return JointProgram(ways[0], ways[1], critic, optimizers, **settings)


def test_a_step_descends_the_objective_of_the_docstring():
    weigh = torch.tensor([1.0, 2.0])

    def own_loss(latents, labels, generator):
        return (program.way.network.linears[0].bias * weigh * latents).mean()

    program = program_of(own_loss)
    source = torch.Generator().manual_seed(1)
    x, latents = (torch.randn(6, n, generator=source) for n in (3, 2))
    before = copy.deepcopy(program.way), copy.deepcopy(program.critic)
    after = copy.deepcopy(source)
    losses = program.step((x, latents), source)

    # by autograd, on copies, from the same noise
    (way, critic), (first, second) = (
        before,
        [torch.empty(6, 4).normal_(generator=after) for _ in range(2)],
    )
    real = (x - 1.0 - torch.tensor([0.5, 0.0, 0.0])) / 2.0

    def fakes(noise):
        z = way.network(noise) @ way.to_decoder[0] + way.to_decoder[1]
        return (torch.tanh(way.decoder(z)) - torch.tensor([0.5, 0.0, 0.0])) / 2.0

    rows = [real.requires_grad_(), fakes(first).detach().requires_grad_()]
    values = [critic(part) for part in rows]
    slopes = [
        torch.autograd.grad(v.sum(), r, create_graph=True)[0]
        for v, r in zip(values, rows, strict=True)
    ]
    penalty = sum(slope.square().sum(1).mean() for slope in slopes)
    loss = F.softplus(values[1] - values[0]).mean()
    assert_allclose(losses["critic_loss"], loss.item(), rtol=1e-5)
    (loss + 0.35 * penalty).backward()
    moved = zip(critic.parameters(), program.critic.parameters(), strict=True)
    # the step of Nesterov at its start is 1.9 slopes; biases of the end have none
    for old, new in moved:
        expected = old if old.grad is None else old - 1.9 * old.grad
        assert_allclose(new.detach(), expected.detach(), rtol=1e-4, atol=1e-6)

    game = F.softplus(program.critic(real) - program.critic(fakes(second))).mean()
    z = latents @ way.to_decoder[0] + way.to_decoder[1]
    restored = F.mse_loss(way.decoder(z), x - 1.0)
    own = (way.network.linears[0].bias * weigh * latents).mean()
    assert_allclose(losses["loss"], game.item(), rtol=1e-5)
    assert_allclose(losses["reconstruction"], restored.item(), rtol=1e-5)
    assert_allclose(losses["generator_loss"], own.item(), rtol=1e-5)
    (game + 0.3 * restored + 0.2 * own).backward()
    parts = (program.way.decoder, way.decoder), (program.way.network, way.network)
    for ours, theirs in parts:
        for new, old in zip(ours.parameters(), theirs.parameters(), strict=True):
            expected = old - 1.9 * old.grad
            assert_allclose(new.detach(), expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_probe_is_the_energy_distance_in_units_of_the_critic():
    rng = np.random.RandomState(0)
    x, y = rng.standard_normal((40, 3)), 0.3 + rng.standard_normal((60, 3))
    distance, to_y, to_x = _energy(torch.tensor(x), torch.tensor(y))
    n, m = len(x), len(y)

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b, axis=2).sum(1)

    within = mean(x, x) / (n - 1), mean(y, y) / (m - 1)
    across = mean(x, y) / m, mean(y, x) / n
    expected = 2 * across[0].mean() - within[0].mean() - within[1].mean()
    assert_allclose(distance, expected, rtol=1e-6)
    assert_allclose(to_y, 2 * (across[0] - within[0]), rtol=1e-6)
    assert_allclose(to_x, 2 * (across[1] - within[1]), rtol=1e-6)


def test_the_error_of_the_probe_is_that_of_the_difference_to_the_stages():
    program = program_of()
    source = torch.Generator().manual_seed(2)
    rows = tuple(torch.randn(50, n, generator=source) for n in (3, 2))
    first, again = program.validate(rows), program.validate(rows)
    assert first["loss"] == again["loss"]
    assert again["loss_error"] == 0.0
    assert "loss_error" not in program.validate(tuple(part[:9] for part in rows))
    with torch.no_grad():
        for parameter in program.average.decoder.parameters():
            parameter.mul_(0.9)
    moved = program.validate(rows)
    assert moved["loss"] != first["loss"]
    assert 0.0 < moved["loss_error"] < 0.1


def test_labels_stay_with_their_rows(monkeypatch):
    seen = []
    step = JointProgram.step

    def look(self, batch, generator):
        seen.append([part.clone() for part in batch])
        return step(self, batch, generator)

    monkeypatch.setattr(JointProgram, "step", look)
    names = np.array(["no", "yes", "maybe"])[Y]
    found = joint(FIXED["conditional mixture"], batch_size=50).fit(X, names)
    x, _, labels, draws = (torch.cat(part) for part in zip(*seen, strict=True))
    rows = x.double().numpy() * found.manifold_.scale_ + found.manifold_.shift_
    nearest = ((rows[:, None] - X[None]) ** 2).sum(2).argmin(1)
    assert_array_equal(found.classes_[labels.argmax(1).numpy()], names[nearest])
    assert draws.shape[1] == 4 * found.n_components_
    assert_array_equal(drawable_labels(found), ["maybe", "no", "yes"])
    assert found.sample(y="no").shape == (1, X.shape[1])
    with pytest.raises(ValueError, match=r"labels that fit saw.*\['perhaps'\]"):
        found.sample(3, y="perhaps")


def test_tuning_sees_images_as_they_are_where_the_manifold_changed_them(monkeypatch):
    seen = []
    step = JointProgram._step_critic

    def look(self, real, *args):
        mean, spread = self.to_critic
        seen.append(real * spread + mean)
        return step(self, real, *args)

    monkeypatch.setattr(JointProgram, "_step_critic", look)
    images = load_digits().data[:100]
    manifold = clone(MANIFOLD).set_params(augment={"flip": 1.0}, image_shape=(1, 8, 8))
    found = joint(manifold=manifold, fine_tune_epochs=1, validation_fraction=0.0)
    found = found.fit(images).manifold_
    rows = torch.cat(seen).double().numpy() * found.scale_ + found.shift_
    assert_allclose(
        rows[np.lexsort(rows.T.round())], images[np.lexsort(images.T)], atol=1e-3
    )


# ------------------------------------------------------------------- what is kept


def test_the_stages_stay_where_tuning_makes_it_worse():
    staged = joint(fine_tune_epochs=0).fit(X)
    worse = joint(learning_rate=0.1, reconstruction_weight=0.0, schedule="constant")
    worse.fit(X)
    assert worse.best_epoch_ == 0
    assert worse.n_epochs_ == 2
    assert are_equal(worse.manifold_.decoder_, staged.manifold_.decoder_)
    assert_array_equal(
        worse.sample(5, random_state=0), staged.sample(5, random_state=0)
    )


def test_tuning_brings_samples_nearer_and_reconstructions_stay():
    rows = load_digits().data[:1500]
    test = load_digits().data[1500:]
    manifold = AutoencoderManifold(6, hidden_sizes=(64,), max_epochs=20, random_state=0)
    parts = manifold, LatentMixture(4, random_state=0)
    staged = JointGenerator(*parts, fine_tune_epochs=0).fit(rows)
    tuned = JointGenerator(*parts, fine_tune_epochs=20, random_state=0).fit(rows)
    drawn = [
        it.sample(len(test), random_state=1).astype(float) for it in (staged, tuned)
    ]
    before, after = (energy_distance(test, part) for part in drawn)
    assert tuned.best_epoch_ > 0
    assert after < 0.95 * before
    error = [it.reconstruction_error(test).mean() for it in (staged, tuned)]
    assert error[1] < 1.1 * error[0]


def test_an_interrupt_while_tuning_keeps_what_there_is():
    def stop(row):
        raise KeyboardInterrupt

    found = without_choice(joint(callbacks=[stop]))
    with pytest.raises(KeyboardInterrupt):
        found.fit(X)
    assert found.n_epochs_ == 1
    assert found.sample(3).shape == (3, X.shape[1])


def test_an_interrupt_in_a_stage():
    def stop(row):
        raise KeyboardInterrupt

    found = joint(clone(GAN).set_params(callbacks=[stop]))
    with pytest.raises(KeyboardInterrupt):
        found.fit(X)
    assert found.n_epochs_ == 0
    assert found.sample(3).shape == (3, X.shape[1])
    found = joint(manifold=clone(MANIFOLD).set_params(callbacks=[stop]))
    with pytest.raises(KeyboardInterrupt):
        found.fit(X)
    with pytest.raises(NotFittedError):
        found.sample(3)


def test_a_failure_while_tuning_leaves_it_as_it_was():
    def fail(row):
        raise RuntimeError("of the callback")

    found = joint().fit(X)
    before = dict(vars(found))
    with pytest.raises(RuntimeError, match="of the callback"):
        found.set_params(callbacks=[fail]).fit(X)
    assert {**before, "callbacks": [fail]} == vars(found)


def test_max_time_ends_tuning():
    found = joint(fine_tune_epochs=10_000, max_time=0.2).fit(X)
    assert 1 <= found.n_epochs_ < 10_000


def test_a_killed_fit_resumes_with_the_same_result(tmp_path):
    whole = without_choice(joint()).fit(X)

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        without_choice(joint(checkpoint=tmp_path, callbacks=[stop])).fit(X)
    resumed = without_choice(joint(checkpoint=tmp_path)).fit(X)
    assert_array_equal(
        resumed.sample(5, random_state=0), whole.sample(5, random_state=0)
    )


# ---------------------------------------------------------------- rows and their use


def test_images_of_bytes_by_the_image_shape_of_the_manifold():
    bytes_of = load_digits().data[:200].astype(np.uint8) * 15
    manifold = clone(MANIFOLD).set_params(
        architecture="conv", channels=(4,), image_shape=(1, 8, 8)
    )
    found = without_choice(joint(manifold=manifold)).fit(bytes_of)
    assert found.manifold_._is_uint8
    drawn = found.sample(200, random_state=0)
    assert drawn.min() >= 0
    assert 100 < drawn.max() <= 255
    images = clone(found).fit(bytes_of.reshape(-1, 8, 8))
    assert_array_equal(
        images.sample(200, random_state=0).reshape(200, -1), drawn, strict=True
    )


def test_it_ends_a_pipeline_as_a_pipeline_alone():
    pipe = make_generative_pipeline(StandardScaler(), joint()).fit(X, Y)
    assert pipe.sample(7, random_state=0).shape == (7, X.shape[1])
    assert np.isfinite(pipe.score(X))
    assert pipe.transform(X).shape == (len(X), 3)


def test_the_score_is_minus_the_energy_distance():
    found = joint().fit(X)
    drawn = found.sample(len(X), random_state=0)
    spread = X.std(axis=0)
    expected = -energy_distance(X / spread, drawn / spread)
    assert_allclose(found.score(X), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"manifold": PCA(2)}, TypeError, r"manifold must be .*got PCA.*GenerativePi"),
        ({"generator": PCA(2)}, TypeError, "generator must be .* has no sample"),
        ({"fine_tune_epochs": -1}, ValueError, "fine_tune_epochs must be .* got -1"),
        ({"fine_tune_epochs": 1.5}, TypeError, "fine_tune_epochs must be"),
        ({"tune_generator": 1}, TypeError, "tune_generator must be True or False"),
        ({"critic_sizes": (0,)}, ValueError, "critic_sizes must be .* got"),
        ({"gradient_penalty": -1.0}, ValueError, "gradient_penalty must be"),
        ({"reconstruction_weight": -1.0}, ValueError, "reconstruction_weight must"),
        ({"generator_weight": -1.0}, ValueError, "generator_weight must be"),
        ({"average_decay": 1.0}, ValueError, "average_decay must be .* got 1.0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be"),
        ({"critic_learning_rate": 0.0}, ValueError, "critic_learning_rate must be"),
        ({"max_time": 0.0}, ValueError, "max_time must be"),
    ],
)
def test_bad_parameters(parameters, error, match):
    found = joint().set_params(**parameters)
    before = dict(vars(found))
    with pytest.raises(error, match=match), warnings.catch_warnings():
        found.fit(X)
    assert vars(found) == before
