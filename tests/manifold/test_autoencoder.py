"""AutoencoderManifold against PCA, formulas and hand-made steps."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional as F

from manifoldgen import AutoencoderManifold
from manifoldgen.exceptions import DeviceWarning, TrainingDivergedError
from manifoldgen.manifold import AutoencoderProgram
from manifoldgen.nn import MLP
from manifoldgen.nn.losses import mean_squared_error
from manifoldgen.training import OPTIMIZERS, SCHEDULES, make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def curved(n=200, n_features=6, seed=0):
    """Rows near a curved surface of two dimensions."""
    rng = np.random.RandomState(seed)
    u = rng.uniform(-1, 1, (n, 2))
    lifted = np.column_stack([u, u**2, np.sin(3 * u)]) @ rng.standard_normal((6, 6))
    return lifted[:, :n_features] + 0.01 * rng.standard_normal((n, n_features))


X = curved()
X.setflags(write=False)


def small(**changes):
    parameters = {"n_components": 2, "hidden_sizes": (8,), "max_epochs": 4}
    return AutoencoderManifold(**{**parameters, "random_state": 0, **changes})


def weights_of(manifold):
    networks = manifold.encoder_, manifold.decoder_
    return [p.detach().clone() for network in networks for p in network.parameters()]


def distance(one, other):
    """Return the largest difference of two lists of weights."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- what it is to learn


@pytest.mark.parametrize("n_components", [1, 2, 4])
def test_a_linear_autoencoder_finds_what_pca_finds(n_components):
    manifold = AutoencoderManifold(
        n_components,
        hidden_sizes=(),
        batch_size=50,
        learning_rate=0.1,
        schedule="cosine",
        max_epochs=400,
        validation_fraction=0.0,
        random_state=0,
    ).fit(X)
    pca = PCA(n_components).fit(X)
    best = np.square(X - pca.inverse_transform(pca.transform(X))).mean()
    error = manifold.reconstruction_error(X).mean()
    assert (1 - 1e-6) * best <= error <= 1.02 * best
    assert manifold.history_["loss"][-1] == pytest.approx(
        best / X.var(0).mean(), rel=0.1
    )


def test_hidden_layers_find_the_curve_that_pca_misses():
    u = np.random.RandomState(0).uniform(-1, 1, 400)
    parabola = np.column_stack([u, u**2])
    manifold = AutoencoderManifold(1, hidden_sizes=(32,), random_state=0)
    manifold.set_params(max_epochs=300, learning_rate=1e-2, schedule="cosine")
    manifold.fit(parabola[:200])
    pca = PCA(1).fit(parabola[:200])
    held_out = parabola[200:]
    flat = np.square(held_out - pca.inverse_transform(pca.transform(held_out))).mean()
    assert manifold.reconstruction_error(held_out).mean() < flat / 10


def test_score_and_reconstruction_error_by_hand():
    manifold, rows = small().fit(X), X[:50]
    back = manifold.inverse_transform(manifold.transform(rows)).astype(float)
    assert_allclose(manifold.reconstruction_error(rows), ((rows - back) ** 2).mean(1))
    squares = ((rows - X.mean(0)) ** 2).sum()  # about the training mean, all rows
    expected = 1 - ((rows - back) ** 2).sum() / squares
    assert manifold.score(rows) == pytest.approx(expected, rel=1e-6)
    assert_allclose(manifold.mean_, X.mean(0))


def test_units_by_hand():
    manifold = small().fit(X)
    assert_allclose(manifold.shift_, X.mean(0))
    assert_allclose(manifold.scale_, np.full(6, np.sqrt(X.var(0).mean())))
    seen = torch.tensor((X - X.mean(0)) / np.sqrt(X.var(0).mean()), dtype=torch.float32)
    with torch.no_grad():
        z = manifold.encoder_(seen)
        back = manifold.decoder_(z).numpy()
    assert_allclose(manifold.transform(X), z.numpy(), rtol=1e-5, atol=1e-6)
    expected = back * np.sqrt(X.var(0).mean()) + X.mean(0)
    assert_allclose(
        manifold.inverse_transform(z.numpy()), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1e-6, 0.0), (1e3, 5e4)])
def test_the_units_of_the_data_do_not_matter(factor, shift):
    one, other = small().fit(X), small().fit(factor * X + shift)
    Z = one.transform(X)
    assert_allclose(other.transform(factor * X + shift), Z, atol=2e-4 * Z.std())
    assert one.score(X) == pytest.approx(other.score(factor * X + shift), abs=1e-4)


# -------------------------------------------------------------------------- the steps


def program_of(loss=F.mse_loss, optimizer="sgd", **options):
    generator = torch.Generator().manual_seed(0)
    networks = MLP((3, 4, 2), generator=generator), MLP((2, 4, 3), generator=generator)
    parameters = [p for network in networks for p in network.parameters()]
    chosen = make_optimizer(optimizer, parameters, 0.1)
    return AutoencoderProgram(*networks, chosen, loss, **options), networks


def test_the_loss_of_a_step_by_hand():
    program, (encoder, decoder) = program_of(noise=0.5, latent_penalty=0.3)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    encoder, decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
    (found,) = program.step((x,), torch.Generator().manual_seed(2)).values()
    noise = torch.empty(5, 3).normal_(generator=torch.Generator().manual_seed(2))
    z = encoder(x + 0.5 * noise)
    expected = (decoder(z) - x).square().mean() + 0.3 * z.square().mean()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-6)
    # the step itself: plain gradient descent, and the first velocity is the gradient
    expected.backward()
    for mine, theirs in zip(
        program.encoder.parameters(), encoder.parameters(), strict=True
    ):
        by_hand = theirs - 0.1 * 1.9 * theirs.grad
        torch.testing.assert_close(mine, by_hand, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("explicit", [True, False])
def test_the_penalty_of_the_decoder_by_autograd(explicit):
    options = {
        "loss": mean_squared_error,
        "decoder_penalty": 0.2,
        "latent_penalty": 0.3,
    }
    program, (encoder, decoder) = program_of(**options)
    assert program._explicit is not None
    if not explicit:
        program._explicit = None
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    encoder, decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
    (found,) = program.step((x,), torch.Generator()).values()
    z = encoder(x)
    expected = (decoder(z) - x).square().mean() + 0.3 * z.square().mean()
    for layer in decoder.linears:
        expected = expected + 0.2 * layer.weight.square().sum()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-6)
    expected.backward()
    for mine, copied in zip(
        (program.encoder, program.decoder), (encoder, decoder), strict=True
    ):
        for now, before in zip(mine.parameters(), copied.parameters(), strict=True):
            by_hand = before - 0.1 * 1.9 * before.grad
            torch.testing.assert_close(now, by_hand, rtol=1e-5, atol=1e-6)


def test_the_penalty_of_the_decoder_is_none_of_rows():
    one, other = program_of()[0], program_of(decoder_penalty=5.0)[0]
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    assert one.validate((x,)) == other.validate((x,))


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_the_penalty_shrinks_the_decoder(architecture):
    options = {"architecture": architecture, "channels": (4,), "learning_rate": 0.03}

    def size(penalty):
        fitted = small(**options, decoder_penalty=penalty, max_epochs=20).fit(BYTES)
        weights = [w for w in fitted.decoder_.parameters() if w.ndim > 1]
        return sum(float(w.square().sum()) for w in weights)

    assert size(0.1) < 0.5 * size(0.0)


def test_the_validation_loss_is_of_clean_rows_and_whole():
    program, (encoder, decoder) = program_of(noise=0.5, latent_penalty=0.3)
    x = torch.randn(2500, 3, generator=torch.Generator().manual_seed(1))
    (found,) = program.validate((x,)).values()
    z = encoder(x)
    expected = (decoder(z) - x).square().mean() + 0.3 * z.square().mean()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_noise_and_dropout_act_in_training_alone():
    plain = small().fit(X)
    for changes in ({"noise": 0.5}, {"dropout": 0.5}):
        other = small(**changes).fit(X)
        assert distance(weights_of(plain), weights_of(other)) > 1e-3
        assert_array_equal(other.transform(X), other.transform(X))


def test_the_latent_penalty_pulls_latents_together():
    sizes = [
        np.square(small(latent_penalty=p, max_epochs=40).fit(X).transform(X)).mean()
        for p in (0.0, 0.1, 10.0)
    ]
    assert sizes[0] > sizes[1] > 2 * sizes[2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_shrinks_the_weights(optimizer):
    def norm(weight_decay):
        options = {"optimizer": optimizer, "weight_decay": weight_decay}
        fitted = small(**options, learning_rate=1e-2, max_epochs=30).fit(X)
        return sum(float(w.square().sum()) for w in weights_of(fitted))

    assert norm(1.0) < 0.8 * norm(0.0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_and_schedule_learns(optimizer, schedule):
    manifold = small(optimizer=optimizer, schedule=schedule, learning_rate=1e-2)
    manifold.set_params(max_epochs=30, batch_size=32).fit(X)
    assert manifold.score(X) > 0.5


def test_bf16_learns_and_answers_in_float32():
    manifold = small(precision="bf16", max_epochs=30, learning_rate=1e-2).fit(X)
    assert manifold.transform(X).dtype == np.float32
    assert manifold.score(X) > 0.5
    full = small(max_epochs=30, learning_rate=1e-2).fit(X)
    assert distance(weights_of(manifold), weights_of(full)) > 0


# ------------------------------------------------------------- whitening, validation


def test_whitened_latents_have_mean_zero_and_covariance_one():
    plain = small(max_epochs=20).fit(X)
    white = small(max_epochs=20, whiten=True).fit(X)
    Z = white.transform(X).astype(float)
    assert_allclose(Z.mean(0), 0, atol=1e-5)
    assert_allclose(np.cov(Z.T), np.eye(2), atol=1e-5)
    # an affine layer after training changes neither networks nor reconstructions
    assert distance(weights_of(plain), weights_of(white)) == 0
    assert_allclose(
        white.inverse_transform(Z),
        plain.inverse_transform(plain.transform(X)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_whitening_of_latents_without_spread_is_finite():
    manifold = small(whiten=True).fit(np.ones((20, 6)))
    Z = manifold.transform(np.ones((20, 6)))
    assert np.isfinite(Z).all()
    assert_allclose(manifold.inverse_transform(Z), 1, atol=1e-6)


def test_rows_for_validation_are_used_and_not_trained_on():
    history = small().fit(X, X_val=X[:10] + 10).history_
    assert (history["validation_loss"] > 10 * history["loss"]).all()
    assert_array_equal(history["loss"], small().fit(X, X_val=X[:5]).history_["loss"])
    assert "validation_loss" not in small(validation_fraction=0.0).fit(X).history_


def test_rows_for_validation_of_another_kind():
    with pytest.raises(ValueError, match="5 features"):
        small().fit(X, X_val=X[:, :5])
    frame = pd.DataFrame(X, columns=list("abcdef"))
    small().fit(frame, X_val=frame[:20])
    with pytest.raises(ValueError, match="feature names"):
        small().fit(frame, X_val=frame[:20].rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="NaN"):
        small().fit(X, X_val=np.full((3, 6), np.nan))
    with pytest.raises(ValueError, match="images of shape"):
        small().fit(X.reshape(-1, 2, 3), X_val=X.reshape(-1, 3, 2))


def test_the_best_epoch_is_kept():
    manifold = small(learning_rate=0.3, max_epochs=30, patience=None).fit(X)
    losses = manifold.history_["validation_loss"]
    assert manifold.best_epoch_ == 1 + losses.argmin() < manifold.n_epochs_ == 30
    again = small(learning_rate=0.3, max_epochs=30, patience=None)
    best = manifold.best_epoch_
    again.set_params(callbacks=[lambda row: row["epoch"] == best]).fit(X)
    assert distance(weights_of(manifold), weights_of(again)) == 0


def test_early_stopping_and_its_attributes():
    manifold = small(max_epochs=500, learning_rate=3e-2, patience=3).fit(X)
    assert manifold.n_epochs_ < 500
    assert manifold.n_epochs_ == len(manifold.history_["loss"])
    assert manifold.device_ == "cpu"
    assert manifold.n_components_ == 2
    assert not any(p.requires_grad for p in manifold.encoder_.parameters())
    assert not manifold.encoder_.training
    assert not manifold.decoder_.training


def test_a_warning_where_epochs_end_too_soon():
    with pytest.warns(ConvergenceWarning, match="max_epochs ended training while"):
        small(max_epochs=3).fit(X)


# ------------------------------------------------------------ warm starts and streams


def test_a_warm_start_goes_on():
    cold = small(max_epochs=15).fit(X)
    losses = cold.history_["loss"]
    warm = copy.deepcopy(cold).set_params(warm_start=True).fit(X)
    assert warm.history_["loss"][0] < 1.2 * losses[-1] < losses[0]
    assert warm.n_epochs_ == 15
    # units stay those that the weights were learned in
    moved = copy.deepcopy(cold).set_params(warm_start=True).fit(X + 1.0)
    assert_array_equal(moved.shift_, cold.shift_)


def test_a_warm_start_before_any_fit_is_a_fit():
    warm = small(warm_start=True).fit(X)
    assert distance(weights_of(warm), weights_of(small().fit(X))) == 0


@pytest.mark.parametrize("changes", [{"n_components": 3}, {"hidden_sizes": (9,)}])
def test_a_warm_start_of_other_shapes_is_an_error(changes):
    manifold = small(warm_start=True).fit(X)
    before = weights_of(manifold)
    message = r"Training on from fitted weights.*warm_start"
    with pytest.raises(ValueError, match=message):
        manifold.set_params(**changes).fit(X)
    with pytest.raises(ValueError, match="Training on from fitted weights"):
        manifold.fit(X[:, :5])
    assert distance(weights_of(manifold), before) == 0
    assert manifold.n_features_in_ == 6
    manifold.transform(X)


def test_calls_of_partial_fit_are_steps_of_one_optimizer():
    # one batch a call: three calls are three steps of momentum, by hand from the start
    options = {"hidden_sizes": (), "batch_size": 500, "optimizer": "sgd"}
    options["random_state"] = 0
    start = AutoencoderManifold(2, **options, learning_rate=1e-30).partial_fit(X)
    manifold = AutoencoderManifold(2, **options, learning_rate=0.05)
    for _ in range(3):
        manifold.partial_fit(X)
    x = torch.tensor((X - start.shift_) / start.scale_)
    parts = [w.double().requires_grad_(True) for w in weights_of(start)]
    velocity = [0.0] * 4
    for _ in range(3):
        a, b, c, d = parts
        loss = (F.linear(F.linear(x, a, b), c, d) - x).square().mean()
        slopes = torch.autograd.grad(loss, parts)
        velocity = [0.9 * v + g for v, g in zip(velocity, slopes, strict=True)]
        parts = [
            (p - 0.05 * (g + 0.9 * v)).detach().requires_grad_(True)
            for p, g, v in zip(parts, slopes, velocity, strict=True)
        ]
    for mine, by_hand in zip(weights_of(manifold), parts, strict=True):
        assert_allclose(mine, by_hand.detach(), rtol=1e-4, atol=1e-5)


def test_a_stream_learns_and_its_history_grows():
    manifold = small(learning_rate=1e-2, batch_size=20)
    for i in range(60):
        manifold.partial_fit(X[i % 4 :: 4])
    assert manifold.score(X) > 0.5
    assert manifold.n_epochs_ == 60
    assert_array_equal(manifold.history_["epoch"], np.arange(1, 61))
    first = X[::4]
    assert_allclose(manifold.mean_, first.mean(0))  # the first call fixes the units


def test_a_stream_goes_on_after_a_pickle_and_a_deepcopy():
    straight = small()
    stored = small()
    for part in np.array_split(X, 5):
        straight.partial_fit(part)
        stored.partial_fit(part)
        stored = copy.deepcopy(pickle.loads(pickle.dumps(stored)))
    assert distance(weights_of(straight), weights_of(stored)) == 0


def test_a_call_that_fails_changes_nothing_for_the_next():
    one, other = small().partial_fit(X), small().partial_fit(X)
    for bad in (X * np.nan, X[:, :5], 1e30 * X):
        with pytest.raises((ValueError, TrainingDivergedError)):
            one.partial_fit(bad)
    assert (
        distance(weights_of(one.partial_fit(X)), weights_of(other.partial_fit(X))) == 0
    )


def test_parameters_may_change_between_calls():
    manifold = small().partial_fit(X)
    before = weights_of(manifold)
    manifold.set_params(learning_rate=1e-30).partial_fit(X)
    assert distance(weights_of(manifold), before) < 1e-20
    for optimizer in OPTIMIZERS:
        manifold.set_params(optimizer=optimizer, learning_rate=1e-3).partial_fit(X)
        assert distance(weights_of(manifold), before) > 1e-6
        before = weights_of(manifold)


def test_partial_fit_goes_on_from_a_fit_and_a_fit_starts_anew():
    fitted = small().fit(X)
    before = weights_of(fitted)
    fitted.set_params(learning_rate=1e-6).partial_fit(X)
    assert 0 < distance(weights_of(fitted), before) < 1e-3
    again = fitted.set_params(learning_rate=2e-3).fit(X)
    assert distance(weights_of(again), before) == 0


def test_one_row_is_enough_for_a_later_call():
    manifold = small(whiten=True).partial_fit(X).partial_fit(X[:1])
    assert np.isfinite(manifold.transform(X)).all()
    with pytest.raises(ValueError, match="minimum of 2"):
        small().partial_fit(X[:1])


# --------------------------------------------------------------- networks of your own


class OwnEncoder(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, 8), nn.Tanh(), nn.Linear(8, n_out))

    def forward(self, x):
        return self.layers(x)


class OwnDecoder(OwnEncoder):
    pass


class ShapedEncoder(nn.Module):
    def __init__(self, n_features, n_components, image_shape):
        super().__init__()
        self.image_shape = image_shape
        self.convolution = nn.Conv2d(image_shape[0], 2, 1)
        self.head = nn.LazyLinear(n_components)

    def forward(self, x):
        x = self.convolution(x.reshape(-1, *self.image_shape))
        return self.head(x.flatten(1))


class WithStatistics(nn.Sequential):
    def __init__(self, n_in, n_out):
        super().__init__(nn.BatchNorm1d(n_in), nn.Linear(n_in, n_out))


class Wide(nn.Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out + 1)


class RaisesInInit(nn.Module):
    def __init__(self, n_in, n_out):
        raise RuntimeError("no such network")


class RaisesInForward(nn.Linear):
    def forward(self, x):
        raise RuntimeError("no such layer")


class RaisesInTraining(nn.Linear):
    def forward(self, x):
        if self.training:
            raise RuntimeError("only while it trains")
        return super().forward(x)


@pytest.mark.parametrize(
    "networks",
    [
        {"encoder": OwnEncoder, "decoder": OwnDecoder},
        {"encoder": OwnEncoder},
        {"decoder": OwnDecoder},
        {"encoder": nn.Linear, "decoder": nn.Linear},
        {"encoder": WithStatistics},
    ],
    ids=str,
)
def test_networks_of_your_own_learn(networks):
    manifold = small(**networks, max_epochs=60, learning_rate=1e-2).fit(X)
    for name, kind in networks.items():
        assert type(getattr(manifold, f"{name}_")) is kind
    assert_array_equal(manifold.shift_, np.zeros(6))  # they see the data as they are
    assert_array_equal(manifold.scale_, np.ones(6))
    assert manifold.score(X) > 0.5


def test_a_network_that_takes_it_is_told_the_shape_of_images():
    images = X.reshape(-1, 1, 2, 3)
    assert small(encoder=ShapedEncoder).fit(images).encoder_.image_shape == (1, 2, 3)
    manifold = small(encoder=ShapedEncoder, image_shape=(3, 2, 1)).fit(X)
    assert manifold.encoder_.image_shape == (3, 2, 1)
    assert small(encoder=ShapedEncoder).fit(X).encoder_.image_shape == (1, 1, 6)


@pytest.mark.parametrize(
    ("network", "error", "match"),
    [
        (Wide, ValueError, r"must map 2 rows to a tensor of shape \(2, \d\), got"),
        (RaisesInInit, RuntimeError, "no such network"),
        (RaisesInForward, RuntimeError, "no such layer"),
        (RaisesInTraining, RuntimeError, "only while it trains"),
        (nn.Linear(6, 2), TypeError, "Pass the class itself, not an instance"),
        (lambda n_in, n_out: "a string", TypeError, "must build a torch.nn.Module"),
        (lambda n_in, n_out: nn.LSTM(n_in, n_out), ValueError, "must map 2 rows to"),
        ("mlp", TypeError, "Pass the class itself, not an instance"),
    ],
    ids=lambda it: getattr(it, "__name__", str(it)[:12]),
)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_networks_that_fail_say_which_and_leave_all_as_it_was(
    part, network, error, match
):
    manifold = small().fit(X)
    before = dict(vars(manifold))
    manifold.set_params(**{part: network})
    with pytest.raises(error, match=match) as caught:
        manifold.fit(X)
    notes = "".join(getattr(caught.value, "__notes__", []))
    if network in (RaisesInInit,) or error is not RuntimeError:
        assert part in str(caught.value) + notes
    vars(manifold).pop(part)
    before.pop(part)
    assert vars(manifold) == before


def test_a_callable_loss():
    def absolute(output, target):
        return (output - target).abs().mean()

    manifold = small(loss=absolute, max_epochs=60, learning_rate=1e-2).fit(X)
    back = manifold.inverse_transform(manifold.transform(X))
    assert np.abs(X - back).mean() < 0.5 * np.abs(X - np.median(X, 0)).mean()
    module = small(loss=nn.L1Loss(), max_epochs=60, learning_rate=1e-2).fit(X)
    assert distance(weights_of(manifold), weights_of(module)) < 1e-3


@pytest.mark.parametrize(
    "loss", [lambda a, b: (a - b).square(), lambda a, b: 0.5, lambda a, b: None]
)
def test_a_loss_that_is_no_scalar_tensor(loss):
    with pytest.raises(ValueError, match="loss must return a tensor without dimensi"):
        small(loss=loss).fit(X)


def test_tied_weights_are_trained_once():
    shared = {}

    class Tied(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            shared.setdefault("weight", nn.Parameter(0.1 * torch.ones(2, 6)))
            self.weight = shared["weight"]

        def forward(self, x):
            return x @ (self.weight if x.shape[1] == 2 else self.weight.T)

    manifold = small(encoder=Tied, decoder=Tied, max_epochs=2).fit(X)
    assert torch.equal(manifold.encoder_.weight, manifold.decoder_.weight)
    assert not torch.equal(manifold.encoder_.weight[0, :1], torch.tensor([0.1]))


# ------------------------------------------------------------------- images and ranges


def test_cross_entropy_wants_the_unit_interval():
    with pytest.raises(ValueError, match=r"loss='bce' needs data in \[0, 1\], got"):
        small(loss="bce").fit(X)
    unit = (X - X.min()) / np.ptp(X)
    with pytest.raises(ValueError, match="got values of X_val in"):
        small(loss="bce").fit(unit, X_val=unit + 1)
    manifold = small(loss="bce", max_epochs=60, learning_rate=1e-2).fit(unit)
    back = manifold.inverse_transform(manifold.transform(unit))
    assert 0 < back.min() < back.max() < 1
    assert manifold.score(unit) > 0.5
    # nats of the best constant answer are the entropy of the mean
    p = unit.mean()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert manifold.history_["loss"][-1] < entropy


BYTES = np.random.RandomState(0).randint(0, 256, (60, 4, 4)).astype(np.uint8)


def test_absolute_errors_find_the_median_and_squares_the_mean():
    # a decoder of no use: nothing but a bias can be learned from constant latents
    rows = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [10.0, 6.0]] * 8)
    options = {"hidden_sizes": (), "validation_fraction": 0.0, "batch_size": 32}
    options |= {"max_epochs": 600, "latent_penalty": 1e6, "schedule": "linear"}
    found = {
        loss: small(loss=loss, learning_rate=0.01, **options).fit(rows)
        for loss in ("mse", "l1", "huber")
    }
    back = {k: fit.inverse_transform([[0.0, 0.0]])[0] for k, fit in found.items()}
    assert_allclose(back["mse"], [2.5, 2.25], atol=0.1)
    assert_allclose(back["l1"], [0.0, 1.0], atol=0.1)
    # where three pull by d and one, further than a unit of scale away, by that unit
    scale = found["huber"].scale_[0]
    assert_allclose(back["huber"], [scale / 3, 1.0 + scale / 3], atol=0.1)


@pytest.mark.parametrize("loss", ["l1", "huber"])
def test_the_units_do_not_matter_to_robust_losses(loss):
    one, other = small(loss=loss).fit(X), small(loss=loss).fit(1e3 * X + 5e4)
    Z = one.transform(X)
    assert_allclose(other.transform(1e3 * X + 5e4), Z, atol=2e-3 * Z.std())


def test_structural_similarity_sees_the_range_of_the_training_rows():
    shares = np.random.RandomState(0).uniform(0, 1, (40, 2, 1, 1))
    down, across = np.mgrid[:5, :6] / 5.0
    images = 4 * (shares[:, 0] * down + shares[:, 1] * np.sin(5 * across) ** 2) - 2
    options = {"loss": "ssim", "max_epochs": 30, "batch_size": 8, "learning_rate": 1e-2}
    manifold = small(**options).fit(images)
    assert_array_equal(manifold.shift_, np.full(30, images.min()))
    assert_array_equal(manifold.scale_, np.full(30, np.ptp(images)))
    history = manifold.history_["loss"]
    assert history[-1] < 0.5 * history[0] < 1.0
    # the same fit in other units, and as rows with a shape
    rows = 100 * images.reshape(40, 30) + 7
    found = small(**options, image_shape=(1, 5, 6)).fit(rows).transform(rows)
    Z = manifold.transform(images)
    assert_allclose(found, Z, atol=1e-2 * Z.std())


def test_structural_similarity_of_bytes_and_of_own_networks():
    manifold = small(loss="ssim", max_epochs=2).fit(BYTES)
    assert_array_equal(manifold.scale_, np.full(16, 255.0))
    own = small(loss="ssim", max_epochs=2, encoder=nn.Linear).fit(BYTES / 255.0)
    assert_array_equal(own.scale_, np.ones(16))
    assert_array_equal(own.shift_, np.zeros(16))


@pytest.mark.parametrize("shape", [None, (1, 2, 8), (8, 2, 1)])
def test_structural_similarity_wants_images(shape):
    rows = BYTES.reshape(60, 16) / 255.0
    with pytest.raises(ValueError, match="loss='ssim' needs images of 3 by 3 pixels"):
        small(loss="ssim", image_shape=shape).fit(rows)


@pytest.mark.parametrize("loss", ["l1", "huber", "ssim"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_other_losses_learn(loss, precision):
    X, _ = load_digits(return_X_y=True)
    options = {"image_shape": (1, 8, 8), "batch_size": 32, "max_epochs": 20}
    manifold = AutoencoderManifold(
        8, loss=loss, precision=precision, **options, random_state=0
    )
    assert manifold.fit(X[:600]).score(X[600:900]) > 0.5


@pytest.mark.parametrize("loss", ["mse", "bce", "l1", "huber", "ssim"])
def test_bytes_are_scaled_by_255_and_come_back(loss):
    manifold = small(loss=loss).fit(BYTES)
    if loss == "bce":
        assert_array_equal(manifold.scale_, np.full(16, 255.0))
        assert_array_equal(manifold.shift_, np.zeros(16))
    Z = manifold.transform(BYTES)
    assert_array_equal(manifold.transform(BYTES.reshape(60, 16)), Z)
    assert_array_equal(manifold.transform(BYTES.astype(float)), Z)
    back = manifold.inverse_transform(100 * Z)
    assert back.shape == (60, 4, 4)
    assert back.min() >= 0
    assert back.max() <= 255


def test_bytes_and_their_floats_are_the_same_fit():
    one, other = small().fit(BYTES), small().fit(BYTES.astype(np.float64))
    assert_allclose(one.transform(BYTES), other.transform(BYTES), rtol=1e-3, atol=1e-3)


def test_floats_beside_bytes_keep_their_fractions():
    held = BYTES[:9] + 0.5
    losses = [
        small().fit(BYTES, X_val=rows).history_["validation_loss"]
        for rows in (BYTES[:9], BYTES[:9].astype(float), held)
    ]
    assert_array_equal(losses[0], losses[1])
    assert (losses[0] != losses[2]).all()


def test_bytes_in_rows_without_a_shape_are_numbers():
    rows = BYTES.reshape(60, 16)
    assert small(loss=nn.MSELoss()).fit(rows).scale_[0] == 1.0
    assert small(loss=nn.MSELoss(), image_shape=(1, 4, 4)).fit(rows).scale_[0] == 255.0


def test_convolutions_learn_digits(digits):
    images = digits[0].reshape(-1, 8, 8)
    manifold = AutoencoderManifold(
        8, architecture="conv", channels=(8,), max_epochs=15, random_state=0
    ).set_params(learning_rate=1e-2, batch_size=32)
    assert manifold.fit(images).score(images) > 0.4
    assert manifold.image_shape_ == (1, 8, 8)


@pytest.mark.parametrize(
    ("rows", "image_shape"),
    [
        (X, (1, 2, 4)),
        (X, (2, 3)),
        (X.reshape(-1, 2, 3), (1, 3, 2)),
        (X.reshape(-1, 1, 2, 3), (2, 1, 3)),
    ],
)
def test_an_image_shape_that_does_not_fit(rows, image_shape):
    with pytest.raises(
        ValueError, match=r"image_shape must be \(channels, height, wid"
    ):
        small(image_shape=image_shape).fit(rows)


# --------------------------------------------------- interruption, divergence, errors


def stop_at(epoch, error):
    def callback(row):
        if row["epoch"] == epoch:
            raise error

    return [callback]


@pytest.mark.parametrize("validation_fraction", [0.0, 0.1])
@pytest.mark.parametrize("fitted_before", [False, True])
def test_ctrl_c_keeps_the_best_weights_and_goes_on(validation_fraction, fitted_before):
    manifold = small(validation_fraction=validation_fraction, max_epochs=50)
    if fitted_before:
        manifold.set_params(n_components=3).fit(X[:, :5]).set_params(n_components=2)
    with pytest.raises(KeyboardInterrupt):
        manifold.set_params(callbacks=stop_at(3, KeyboardInterrupt)).fit(X)
    stopped = clone(manifold).set_params(callbacks=[lambda row: row["epoch"] == 3])
    stopped.fit(X)
    assert distance(weights_of(manifold), weights_of(stopped)) == 0
    assert set(vars(manifold)) == set(vars(stopped))
    assert manifold.n_epochs_ == 3
    assert_array_equal(manifold.transform(X), stopped.transform(X))
    pickle.loads(pickle.dumps(manifold.set_params(callbacks=None)))


def test_ctrl_c_within_an_epoch(monkeypatch):
    step, count = AutoencoderProgram.step, [0]

    def interrupted(self, batch, generator):
        count[0] += 1
        if count[0] == 8:  # 200 rows less 20, batches of 50: the last of epoch 2
            raise KeyboardInterrupt
        return step(self, batch, generator)

    monkeypatch.setattr(AutoencoderProgram, "step", interrupted)
    manifold = small(batch_size=50)
    with pytest.raises(KeyboardInterrupt):
        manifold.fit(X)
    monkeypatch.undo()
    expected = small(batch_size=50, callbacks=[lambda row: True]).fit(X)
    assert distance(weights_of(manifold), weights_of(expected)) == 0
    assert manifold.n_epochs_ == manifold.best_epoch_ == 1


def test_ctrl_c_before_training_leaves_the_estimator_as_it_was(monkeypatch):
    manifold = small().fit(X)
    before = dict(vars(manifold))

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("manifoldgen.manifold._base.standardize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manifold.fit(X[:, :4])
    assert vars(manifold) == before


@pytest.mark.parametrize("fitted_before", [False, True])
def test_a_callback_that_raises_leaves_all_as_it_was(fitted_before):
    manifold = small()
    if fitted_before:
        manifold.fit(X)
    manifold.set_params(callbacks=stop_at(2, RuntimeError("from the callback")))
    before = dict(vars(manifold))
    with pytest.raises(RuntimeError, match="from the callback"):
        manifold.fit(X[:, :3])
    assert vars(manifold) == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["mse", nn.MSELoss()])
def test_a_learning_rate_of_a_million(optimizer, loss):
    manifold = small(loss=loss, optimizer=optimizer).fit(X)
    manifold.set_params(learning_rate=1e6)
    before = dict(vars(manifold))
    try:
        manifold.fit(X)
    except TrainingDivergedError:
        assert vars(manifold) == before
    Z = manifold.transform(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(manifold.inverse_transform(Z)).all()
    assert np.isfinite(manifold.score(X))


def test_a_loss_that_is_lost_is_an_error_that_says_what_to_do():
    def lost(output, target):
        return (output * np.nan).mean()

    manifold = small(loss=lost)
    with pytest.raises(
        TrainingDivergedError, match=r"epoch 1 \(loss=nan.*Lower learni"
    ):
        manifold.fit(X)
    assert set(vars(manifold)) == set(manifold.get_params())


def test_max_time_ends_after_an_epoch():
    manifold = small(max_time=1e-9, max_epochs=1000).fit(X)
    assert manifold.n_epochs_ == 1


def test_a_device_that_is_not_here_is_replaced_with_a_warning():
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.warns(DeviceWarning, match="not available on this machine"):
        manifold = small(device=absent).fit(X)
    assert manifold.device_ == "cpu"
    assert manifold.device == absent
    # as if it had been pickled where the device is
    state = manifold.__getstate__()
    state["device_"] = absent
    other = AutoencoderManifold()
    with pytest.warns(DeviceWarning):
        other.__setstate__(state)
    assert_array_equal(other.transform(X), manifold.transform(X))


INVALID = [
    ("n_components", 0, ValueError),
    ("n_components", 7, ValueError),
    ("n_components", 2.0, TypeError),
    ("n_components", True, TypeError),
    ("architecture", "cnn", ValueError),
    ("hidden_sizes", 8, TypeError),
    ("hidden_sizes", (8, 0), ValueError),
    ("hidden_sizes", (8.0,), TypeError),
    ("hidden_sizes", "8", TypeError),
    ("channels", (-1,), ValueError),
    ("channels", None, TypeError),
    ("activation", "swish", ValueError),
    ("image_shape", (6,), ValueError),
    ("image_shape", "1x2x3", TypeError),
    ("encoder", 3, TypeError),
    ("decoder", "mlp", TypeError),
    ("loss", "mae", ValueError),
    ("loss", None, ValueError),
    ("noise", -0.1, ValueError),
    ("augment", "flip", TypeError),
    ("noise", np.inf, ValueError),
    ("dropout", 1.0, ValueError),
    ("dropout", -0.5, ValueError),
    ("latent_penalty", np.nan, ValueError),
    ("constraint", "0.95", TypeError),
    ("decoder_penalty", -0.1, ValueError),
    ("weight_decay", -1e-9, ValueError),
    ("weight_decay", "0", TypeError),
    ("optimizer", "lbfgs", ValueError),
    ("optimizer", None, ValueError),
    ("learning_rate", 0.0, ValueError),
    ("learning_rate", -1.0, ValueError),
    ("learning_rate", None, TypeError),
    ("schedule", "step", ValueError),
    ("batch_size", 0, ValueError),
    ("batch_size", 3.5, TypeError),
    ("max_epochs", 0, ValueError),
    ("max_epochs", None, TypeError),
    ("validation_fraction", 1.0, ValueError),
    ("validation_fraction", -0.1, ValueError),
    ("patience", 0, ValueError),
    ("patience", 1.5, TypeError),
    ("tol", -1e-3, ValueError),
    ("whiten", "yes", TypeError),
    ("warm_start", 1, TypeError),
    ("max_time", 0.0, ValueError),
    ("max_time", "1h", TypeError),
    ("precision", "float16", ValueError),
    ("device", "gpu", ValueError),
    ("device", "xla", ValueError),
    ("device", None, ValueError),
    ("checkpoint", 3, TypeError),
    ("callbacks", print, TypeError),
    ("callbacks", [3], TypeError),
    ("verbose", "loud", TypeError),
    ("verbose", -1, ValueError),
    ("random_state", -1, ValueError),
    ("random_state", "seed", ValueError),
    ("random_state", 2**32, ValueError),
    ("random_state", True, ValueError),
]


def test_every_parameter_has_an_invalid_value_here():
    assert {name for name, *_ in INVALID} == set(small().get_params())


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("name", "value", "error"), INVALID)
def test_invalid_parameters_say_name_rule_and_value(name, value, error, method):
    manifold = small(**{name: value})
    shown = "X" if callable(value) else repr(value)
    with pytest.raises(error) as caught:
        getattr(manifold, method)(X)
    text = str(caught.value)
    assert text.startswith(name)
    assert " must " in text
    if not callable(value):
        assert shown in text
    assert set(vars(manifold)) == set(manifold.get_params())


def test_numbers_of_numpy_are_numbers():
    manifold = small(
        n_components=np.int64(2),
        hidden_sizes=np.array([8, 4]),
        batch_size=np.int32(16),
        max_epochs=np.int64(2),
        learning_rate=np.float32(1e-3),
        dropout=np.float64(0.1),
        noise=np.float32(0.1),
        validation_fraction=np.float32(0.2),
        patience=np.int64(3),
        whiten=np.True_,
        random_state=np.int64(0),
    )
    assert manifold.fit(X).transform(X).shape == (200, 2)


def test_score_sees_what_float32_cannot_return():
    rows = X * 0.01 + 1e6
    with pytest.warns(UserWarning, match=r"float32, which cannot resolve columns 0"):
        manifold = small(max_epochs=60).fit(rows)
    plain = small(max_epochs=60).fit(X)
    assert manifold.score(rows) == pytest.approx(plain.score(X), abs=0.02)


def test_channels_last_images_are_named_where_layout_matters():
    images = np.random.RandomState(0).randint(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match=r"channels last.*transpose"):
        small(architecture="conv").fit(images)
    assert small().fit(images).inverse_transform(np.zeros((2, 2))).shape == (2, 6, 5, 3)


@pytest.mark.parametrize("change", [{"loss": "bce"}, {"image_shape": (1, 2, 3)}])
def test_training_goes_on_in_the_units_it_began_in(change):
    rows = (X - X.min()) / (X.max() - X.min())
    manifold = small(warm_start=True).fit(rows).set_params(**change)
    for go_on in (manifold.fit, manifold.partial_fit):
        with pytest.raises(ValueError, match=r"needs the loss, the image_shape"):
            go_on(rows)


def test_a_fitted_manifold_keeps_its_loss():
    manifold = small().fit(X)
    before = manifold.inverse_transform(manifold.transform(X[:5]))
    manifold.set_params(loss="bce")
    assert_array_equal(manifold.inverse_transform(manifold.transform(X[:5])), before)


def test_batch_normalisation_meets_no_batch_of_one_row():
    class Encoder(torch.nn.Sequential):
        def __init__(self, n_in, n_out):
            super().__init__(torch.nn.Linear(n_in, n_out), torch.nn.BatchNorm1d(n_out))

    rows = np.random.RandomState(0).standard_normal((129, 3))
    manifold = AutoencoderManifold(
        2, encoder=Encoder, max_epochs=2, validation_fraction=0, random_state=0
    )
    assert np.isfinite(manifold.fit(rows).transform(rows)).all()
