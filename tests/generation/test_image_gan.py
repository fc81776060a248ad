"""The adversarial generator of images: layouts, games, bad input and one outcome."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from manifoldgen import ImageGAN
from manifoldgen._random import torch_generator
from manifoldgen.exceptions import CollapseWarning
from manifoldgen.generation._image_gan import critic_won
from manifoldgen.generation._image_gan_program import ImageGANProgram
from manifoldgen.metrics import energy_distance
from manifoldgen.nn.games import GAMES

ROWS, Y = load_digits(return_X_y=True)
IMAGES = ROWS.reshape(-1, 8, 8)
ROWS.setflags(write=False)
SMALL = {"channels": (8, 16), "hidden_sizes": (16,), "max_epochs": 2, "random_state": 0}
TINY = {**SMALL, "channels": (2,), "hidden_sizes": (), "n_noise": 3, "max_epochs": 1}


def bytes_of(n):
    return (15 * IMAGES[:n]).astype(np.uint8)


pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
)


@pytest.mark.parametrize(
    ("X", "image_shape", "seen"),
    [
        (IMAGES[:70], None, (1, 8, 8)),
        (IMAGES[:70, None], None, (1, 8, 8)),
        (ROWS[:70], (1, 8, 8), (1, 8, 8)),
        (ROWS[:70], None, (1, 1, 64)),
        (np.repeat(IMAGES[:70, None, :7, :6], 3, axis=1), None, (3, 7, 6)),
        (bytes_of(70), None, (1, 8, 8)),
        (pd.DataFrame(ROWS[:70]), (1, 8, 8), (1, 8, 8)),
    ],
    ids=["grey", "one channel", "rows", "strips", "colour", "bytes", "frame"],
)
def test_every_layout(X, image_shape, seen):
    gan = ImageGAN(image_shape, **TINY).fit(X)
    out = gan.sample(5, random_state=0)
    assert out.shape == (5, *X.shape[1:])
    assert gan.image_shape_ == seen
    values = out.to_numpy() if isinstance(X, pd.DataFrame) else out
    assert isinstance(out, type(X))
    assert values.dtype == np.float32
    low, high = gan.value_range_
    assert (low, high) == (
        (0, 255) if getattr(X, "dtype", None) == np.uint8 else (0, 16)
    )
    assert low <= values.min() <= values.max() <= high
    assert np.isfinite(gan.score(X))


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("game", GAMES)
def test_every_game_trains_every_parameter(game, conditional):
    before = torch.get_rng_state()
    gan = ImageGAN(loss=game, conditional=conditional, **SMALL)
    gan.fit(IMAGES[:200], Y[:200])
    assert torch.equal(before, torch.get_rng_state())
    again = copy.deepcopy(gan).set_params(max_epochs=1, validation_fraction=0.0)
    fresh = again._build_networks(0)
    for name, network in fresh.items():
        for key, tensor in network.state_dict().items():
            trained = getattr(gan, name).state_dict()[key]
            assert torch.isfinite(trained).all()
            assert not torch.equal(trained, tensor), f"{name}.{key}"
    figures = ("loss", "critic_loss", "critic_accuracy", "validation_loss")
    for name in figures:
        assert np.isfinite(gan.history_[name]).all()
    assert (0 <= gan.history_["critic_accuracy"]).all()
    assert (gan.history_["critic_accuracy"] <= 1).all()


def test_after_the_hinge_game_no_layer_stretches():
    gan = ImageGAN(loss="hinge", **SMALL).fit(IMAGES[:200])
    for weight in gan.critic_.weights():
        size = torch.linalg.matrix_norm(weight.flatten(1), 2)
        assert float(size) == pytest.approx(1.0, abs=1e-5)


def program_of(**parameters):
    """Return a program that has not taken a step, and the tensors it would see."""
    kept = []

    class Stop(Exception):
        pass

    class Kept(ImageGAN):
        def _run(self, program, train, *others):
            kept.extend([program, train])
            raise Stop

    with pytest.raises(Stop):
        Kept(**{**TINY, **parameters}).fit(bytes_of(40), Y[:40] % 2)
    return kept


def count_penalties(monkeypatch, n_steps, **parameters):
    calls = []
    plain = ImageGANProgram._penalty

    def counted(self, *arguments):
        calls.append(self.n_steps)
        return plain(self, *arguments)

    program, data = program_of(**parameters)
    monkeypatch.setattr(ImageGANProgram, "_penalty", counted)
    for _ in range(n_steps):
        program.step(tuple(data), torch_generator(0))
    return calls


def test_the_penalty_is_taken_at_its_interval(monkeypatch):
    assert count_penalties(monkeypatch, 7, penalty_interval=3) == [0, 3, 6]
    assert count_penalties(monkeypatch, 3, penalty_interval=1) == [0, 1, 2]
    assert count_penalties(monkeypatch, 3, gradient_penalty=0.0) == []
    assert count_penalties(monkeypatch, 3, loss="hinge") == []


@pytest.mark.parametrize("game", ["relativistic", "nonsaturating", "wgan-gp"])
def test_the_penalty_of_each_game_by_autograd(game):
    program, _ = program_of(loss=game, conditional=True)
    generator = torch_generator(1)
    real, fake = torch.empty(2, 6, 64).uniform_(-1, 1, generator=generator)
    labels = [torch.eye(2)[[0, 1, 1, 0, 1, 0]]]

    def norms(x):
        x = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(program.critic(x, labels).sum(), x)
        return slope.norm(dim=1)

    if game == "wgan-gp":
        place = torch.empty(6, 1).uniform_(generator=torch_generator(2))
        expected = (norms(real + place * (fake - real)) - 1).square().mean()
    else:
        expected = norms(real).square().mean() / 2
        if game == "relativistic":
            expected = expected + norms(fake).square().mean() / 2
    found = program._penalty(real, fake, labels, torch_generator(2))
    assert_allclose(found.item(), expected.item(), rtol=1e-5)


def test_the_generator_moves_after_so_many_steps_of_the_critic():
    program, data = program_of(n_critic_steps=3)
    weight = program.generator.layers.head.linears[0].weight
    moved = []
    for _ in range(7):
        before = weight.detach().clone()
        program.step(tuple(data), torch_generator(0))
        moved.append(not torch.equal(before, weight))
    assert moved == [False, False, True, False, False, True, False]


def test_augmentation_reaches_what_the_critic_sees_and_the_generator():
    program, (rows, *_) = program_of(augment={"shift": 0.25})
    x = program.to_units(rows)
    seen = program._changed(x, torch_generator(0))
    assert seen.shape == x.shape
    assert (seen != x).any(dim=1).float().mean() > 0.5
    assert -1.0 <= float(seen.min()) <= float(seen.max()) <= 1.0
    leaf = x.clone().requires_grad_(True)
    program._changed(leaf, torch_generator(0)).sum().backward()
    assert leaf.grad.any()
    shown = []
    program.critic.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    program.step((rows,), torch_generator(0))
    both, drawn = shown  # real and generated images, then generated ones again
    assert len(both) == 2 * len(x)
    assert len(drawn) == len(x)
    assert (both[: len(x)] != x).any()
    assert (drawn != both[len(x) :]).any()  # by amounts of its own


def test_without_augmentation_the_critic_sees_the_images():
    program, (rows, *_) = program_of()
    x = program.to_units(rows)
    assert program._changed(x, torch_generator(0)) is x
    assert_allclose(x.numpy(), rows.numpy() / 127.5 - 1.0, atol=1e-6)


def test_bytes_stay_bytes_until_a_batch_is_taken():
    _, data = program_of()
    assert data[0].dtype == torch.uint8


def test_one_range_of_bytes_and_floats_gives_the_same_samples():
    X = bytes_of(60)
    gan = ImageGAN(**TINY)
    one = gan.fit(X).sample(4, random_state=0)
    gan.set_params(value_range=(0, 255))
    other = gan.fit(X.astype(np.float64)).sample(4, random_state=0)
    assert_allclose(one, other, atol=0.1)


def test_standardised_draws_are_samples_in_other_units():
    gan = ImageGAN(**TINY).fit(IMAGES[:60])
    noise = torch.empty(4, 3).normal_(generator=torch_generator(0))
    units = gan._draw_units(noise, []).numpy()
    low, high = gan.value_range_
    pixels = low + (high - low) * (gan.generator_(noise).numpy() + 1) / 2
    kept = gan.scale_ > 0
    expected = (pixels - gan.mean_)[:, kept] / gan.scale_[kept]
    assert_allclose(units, expected, rtol=1e-4, atol=1e-4)


def test_a_warm_start_goes_on_and_a_checkpoint_resumes(tmp_path):
    X = IMAGES[:100]
    whole = ImageGAN(**{**SMALL, "max_epochs": 4}, n_critic_steps=3).fit(X)

    class Killed(RuntimeError):
        pass

    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    resumed = ImageGAN(**{**SMALL, "max_epochs": 4}, n_critic_steps=3)
    resumed.set_params(checkpoint=tmp_path, callbacks=(kill,))
    with pytest.raises(Killed):
        resumed.fit(X)
    resumed.set_params(callbacks=None).fit(X)
    assert_array_equal(
        whole.sample(5, random_state=0), resumed.sample(5, random_state=0)
    )
    assert_array_equal(whole.history_["loss"], resumed.history_["loss"])
    weights = copy.deepcopy(whole.generator_.state_dict())
    whole.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(X)
    for key, tensor in whole.generator_.state_dict().items():
        assert_allclose(tensor.numpy(), weights[key].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"channels": (2, 3, 4, 5)}, r"halve images of 8 x 8 pixels 3 times"),
        ({"loss": "none"}, "loss must be one of"),
        ({"gradient_penalty": -1.0}, "gradient_penalty must be"),
        ({"penalty_interval": 0}, "penalty_interval must be"),
        ({"n_critic_steps": 0}, "n_critic_steps must be"),
        ({"n_noise": 0}, "n_noise must be"),
        ({"augment": ("blur",)}, "augment must name"),
        ({"value_range": (0, 10)}, r"values in value_range=\(0, 10\), got 0 to 16"),
        ({"value_range": (16, 0)}, "the first is not the lower"),
        ({"value_range": (0, 1, 2)}, "value_range must be None or"),
        ({"truncation": 0.0}, "truncation must be"),
        ({"average_decay": 1.0}, "average_decay must be"),
        ({"precision": "float16"}, "precision must be"),
        ({"image_shape": (1, 8, 9)}, "image_shape must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_parameters(parameters, match):
    gan = ImageGAN(**{**TINY, **parameters})
    before = set(vars(gan))
    with pytest.raises(ValueError, match=match):
        gan.fit(IMAGES[:40])
    assert set(vars(gan)) == before


def test_bad_images():
    gan = ImageGAN(**TINY)
    with pytest.raises(ValueError, match="minimum of 2"):
        gan.fit(IMAGES[:1])
    with pytest.raises(ValueError, match="channels last"):
        gan.fit(np.zeros((5, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"channels=\(2,\)"):
        ImageGAN(**{**TINY, "channels": (2, 4)}).fit(IMAGES[:40, :2, :3])
    with pytest.raises(TypeError, match="value_range must be None or"):
        ImageGAN(value_range=5, **TINY).fit(IMAGES[:40])


def test_one_class_is_no_condition():
    gan = ImageGAN(conditional=True, **TINY)
    with pytest.raises(ValueError, match=r"2 classes at least, got one, y=7"):
        gan.fit(IMAGES[:40], np.full(40, 7))
    with pytest.raises(ValueError, match="needs labels"):
        gan.fit(IMAGES[:40])


def test_a_warm_start_keeps_range_units_and_shape():
    X = bytes_of(40)
    gan = ImageGAN(warm_start=True, **TINY).fit(X)
    with pytest.raises(ValueError, match="uint8 of 0 to 255"):
        gan.fit(IMAGES[:40] / 16)
    with pytest.raises(ValueError, match="value_range"):
        gan.fit(IMAGES[:40] * 100)
    with pytest.raises(ValueError, match="of the same shape"):
        gan.fit(X.reshape(-1, 4, 16))
    gan.fit(X.astype(float))  # floats in the range of bytes go on


def test_constant_images_are_sampled_as_they_are():
    gan = ImageGAN(**TINY).fit(np.full((20, 4, 4), 3.0))
    assert_array_equal(gan.sample(3), np.full((3, 4, 4), 3.0))


def test_samples_of_labels():
    gan = ImageGAN(conditional=True, **TINY).fit(IMAGES[:60], Y[:60])
    assert gan.sample(y=[3, 1, 4]).shape == (3, 8, 8)
    assert gan.sample(4, y=5, random_state=0).shape == (4, 8, 8)
    with pytest.raises(ValueError, match="labels that fit saw"):
        gan.sample(y=11)
    with pytest.raises(ValueError, match="Set conditional=True"):
        ImageGAN(**TINY).fit(IMAGES[:60], Y[:60]).sample(y=1)


def test_truncation_lessens_variety():
    gan = ImageGAN(**SMALL).fit(IMAGES[:200])
    whole = gan.sample(300, random_state=0)
    narrow = gan.set_params(truncation=0.3).sample(300, random_state=0)
    assert narrow.std(0).mean() < 0.6 * whole.std(0).mean()


@pytest.mark.parametrize(
    ("accuracy", "probe", "won"),
    [
        ([0.9, 1.0, 1.0, 1.0], [1.0, 1.2, 1.1, 1.0], True),
        ([0.9, 1.0, 1.0, 1.0], [1.0, 1.2, 0.8, 1.0], False),  # it learned
        ([0.9, 1.0, 0.98, 1.0], [1.0, 1.2, 1.1, 1.0], False),  # it was in doubt
        ([1.0, 1.0, 1.0], [1.0, 1.2, 1.1], False),  # too early to say
        ([0.9, 1.0, 1.0, 1.0], [1.0, 1.2, 0.95, 1.0], True),  # within the error
    ],
)
def test_when_a_critic_has_won(accuracy, probe, won):
    error = np.full(len(probe), 0.1)
    assert critic_won(np.array(accuracy), np.array(probe), error) is won


def test_a_critic_that_wins_is_named_and_the_best_generator_kept():
    """A generator that hardly moves: the critic has all the time it needs."""
    gan = ImageGAN(**{**SMALL, "max_epochs": 12, "n_critic_steps": 60})
    gan.set_params(gradient_penalty=0.0, learning_rate=1e-2, schedule="constant")
    with pytest.warns(CollapseWarning, match="The critic won"):
        gan.fit(IMAGES[:300])
    probe, error = (gan.history_[f"validation_loss{end}"] for end in ("", "_error"))
    lowest = probe.argmin()
    assert probe[gan.best_epoch_ - 1] <= probe[lowest] + error[lowest]


def test_samples_of_digits_are_nearer_than_gaussian_pixels():
    order = np.random.RandomState(0).permutation(len(ROWS))
    train, held_out = order[:1500], ROWS[order[1500:]]
    gan = ImageGAN(channels=(16,), max_epochs=25, batch_size=32, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        gan.set_params(learning_rate=4e-3, average_decay=0.99).fit(IMAGES[train])
    noise = np.random.RandomState(0).standard_normal((1000, 64))
    gaussian = ROWS[train].mean(0) + ROWS[train].std(0) * noise
    bound = energy_distance(held_out, gaussian)
    found = energy_distance(held_out, gan.sample(1000, random_state=0).reshape(-1, 64))
    assert found < 0.7 * bound


def test_a_few_images_left_over_make_no_step_of_their_own(monkeypatch):
    seen, step = [], ImageGANProgram.step

    def recorded(self, batch, generator):
        seen.append(len(batch[0]))
        return step(self, batch, generator)

    monkeypatch.setattr(ImageGANProgram, "step", recorded)
    gan = ImageGAN(channels=(4,), batch_size=16, validation_fraction=0.0, max_epochs=1)
    gan.fit(IMAGES[:37])
    assert seen == [16, 21]
    seen.clear()
    gan.fit(IMAGES[:40])
    assert seen == [16, 16, 8]
