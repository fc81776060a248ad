"""The file of a fit: what is in it, whose it is, and what bad disks do to it."""

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from manifoldgen import AutoencoderManifold, LatentGAN
from manifoldgen.training import Checkpoint, fingerprint_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::manifoldgen.exceptions.CollapseWarning",
)

X = np.random.RandomState(0).standard_normal((60, 5))
A, B = "a" * 64, "b" * 64


def test_what_is_saved_is_loaded(tmp_path):
    state = {
        "w": torch.arange(3.0),
        "epoch": 4,
        "best": float("inf"),
        "rows": [{"a": 1}],
    }
    Checkpoint(tmp_path / "new" / "folder", A).save(state)
    found = Checkpoint(tmp_path / "new" / "folder", A).load()
    assert torch.equal(found.pop("w"), state.pop("w"))
    assert found == state
    assert [it.suffix for it in (tmp_path / "new" / "folder").iterdir()] == [
        ".checkpoint"
    ]


def test_there_is_nothing_to_resume_at_first(tmp_path):
    assert Checkpoint(tmp_path, A).load() is None


def test_the_file_of_another_fit_under_this_name_is_refused(tmp_path):
    other = Checkpoint(tmp_path, B)
    other.save({"epoch": 3})
    mine = Checkpoint(tmp_path, A)
    other.path.rename(mine.path)
    with pytest.raises(ValueError, match=r"belongs to another fit.*Delete the file"):
        mine.load()
    # digests that begin alike share a name, not a content
    close = Checkpoint(tmp_path, A[:-1] + "0")
    assert close.path == mine.path
    mine.save({"epoch": 1})
    with pytest.raises(ValueError, match="belongs to another fit"):
        close.load()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_a_damaged_file_warns_and_the_fit_begins_anew(tmp_path, damage):
    checkpoint = Checkpoint(tmp_path, A)
    checkpoint.save({"w": torch.arange(1000.0)})
    content = bytearray(checkpoint.path.read_bytes())
    if damage == "flipped":
        content[20:60] = b"x" * 40
    content = {
        "cut": content[:300],
        "empty": b"",
        "text": b"not a checkpoint",
        "flipped": bytes(content),
    }[damage]
    checkpoint.path.write_bytes(content)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert checkpoint.load() is None


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    checkpoint = Checkpoint(tmp_path, A)
    torch.save({"fingerprint": A, "state": Evil()}, checkpoint.path)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert checkpoint.load() is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_an_error_before_training(tmp_path, folder):
    (tmp_path / "file").touch()
    model = AutoencoderManifold(max_epochs=1, checkpoint=tmp_path / folder)
    with pytest.raises(ValueError, match="checkpoint must be a folder that can be wri"):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")


def test_a_full_disk_warns_and_leaves_the_old_file(tmp_path):
    # a limit on the size of files is as real as a full disk, and needs no mount
    code = f"""
        import resource, warnings
        import torch
        from manifoldgen.training import Checkpoint

        checkpoint = Checkpoint({str(tmp_path)!r}, {A!r})
        checkpoint.save({{"w": torch.zeros(10)}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            checkpoint.save({{"w": torch.ones(100_000)}})
        assert "the fit goes on without it" in str(caught[0].message)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    (left,) = tmp_path.iterdir()
    assert torch.equal(Checkpoint(tmp_path, A).load()["w"], torch.zeros(10))
    assert left.suffix == ".checkpoint"


def test_a_fit_outlives_a_full_disk(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    parameters = {"n_components": 2, "max_epochs": 3, "random_state": 0}
    expected = AutoencoderManifold(**parameters).fit(X).transform(X)
    monkeypatch.setattr(torch, "save", full)
    model = AutoencoderManifold(**parameters, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="No space left on device"):
        model.fit(X)
    np.testing.assert_array_equal(model.transform(X), expected)
    assert not list(tmp_path.iterdir())


def test_what_killed_writers_left_goes_with_the_file(tmp_path):
    checkpoint = Checkpoint(tmp_path, A)
    checkpoint.save({"epoch": 1})
    (tmp_path / f"{A[:32]}.123-456.tmp").write_bytes(b"half a file")
    (tmp_path / f"{B[:32]}.123-456.tmp").write_bytes(b"of another fit")
    checkpoint.remove()
    assert [it.name for it in tmp_path.iterdir()] == [f"{B[:32]}.123-456.tmp"]


def test_writing_costs_a_twentieth_at_most(tmp_path, monkeypatch):
    now = [0.0]
    clock = functools.partial(now.__getitem__, 0)
    monkeypatch.setattr("manifoldgen.training.checkpoint.time.monotonic", clock)
    checkpoint = Checkpoint(tmp_path, A)
    assert checkpoint.due()
    save = torch.save

    def slow(*args):
        now[0] += 2.0
        save(*args)

    monkeypatch.setattr(torch, "save", slow)
    checkpoint.save({})
    now[0] += 39.9
    assert not checkpoint.due()
    now[0] += 0.2
    assert checkpoint.due()


# ----------------------------------------------------------------------- fingerprints


def network(width):
    class Network(nn.Linear):
        def __init__(self, n_in, n_out):
            super().__init__(n_in, n_out + width)

        def twin(self):
            return Network

    return Network


def weighted(weight):
    return lambda output, target: weight * (output - target).square().mean()


def test_different_values_have_different_fingerprints():
    values = [
        None,
        0,
        1.5,
        "adam",
        (8, 4),
        (84,),
        [8, 4],
        {"a": 1},
        np.zeros(3),
        np.zeros(3, np.float32),
        np.zeros((3, 1)),
        torch.ones(2),
        nn.Linear,
        network(0),
        network(1),
        nn.functional.mse_loss,
        nn.functional.l1_loss,
        weighted(1),
        weighted(2),
        lambda output, target: (output - target).abs().mean(),
        lambda output, target: (output - target).abs().sum(),
        lambda output, target, p=1: (output - target).abs().sum(),
        functools.partial(nn.functional.smooth_l1_loss, beta=0.5),
        functools.partial(nn.functional.smooth_l1_loss, beta=0.7),
        nn.SmoothL1Loss(),
        nn.SmoothL1Loss(beta=0.5),
        len,
        max,
    ]
    digests = [fingerprint_of({"value": value}) for value in values]
    assert len(set(digests)) == len(values)


def test_names_and_values_do_not_run_together():
    assert fingerprint_of({"a": "b|c=d"}) != fingerprint_of({"a": "b", "c": "d"})
    assert fingerprint_of({"a": (1, (2, 3))}) != fingerprint_of({"a": ((1, 2), 3)})


def test_fingerprints_are_the_same_in_other_processes():
    code = """
        import functools
        import torch
        from manifoldgen.training import fingerprint_of

        class Network(torch.nn.Linear):
            def forward(self, x):
                kinds = {"one", "two", "three", "four", "five"}
                return super().forward(x) if "one" in {"one", "two", "six"} else kinds

        loss = functools.partial(torch.nn.functional.smooth_l1_loss, beta=0.5)
        parts = dict(encoder=Network, loss=loss, other=torch.nn.SmoothL1Loss())
        parts["function"] = lambda a, b: a in {"one", "two", "three", "four", "five"}
        print(fingerprint_of(parts))
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


# ------------------------------------------------------------- who resumes which file


class Power(Exception):
    pass


def cut(row):
    """End the fit as a loss of power would: with the file in its place."""
    if row["epoch"] == 2:
        raise Power


def fit_cut(model, X=X, y=None, **fit_params):
    model = type(model)(**{**model.get_params(), "callbacks": [cut]})
    with pytest.raises(Power):
        model.fit(X, y, **fit_params)


def first_epoch(model, X=X, y=None, **fit_params):
    """Return the first epoch that `model` trains: 2 where it resumes, else 1."""
    seen = []
    model.set_params(callbacks=[lambda row: seen.append(row["epoch"])])
    model.fit(X, y, **fit_params)
    return int(seen[0])


def autoencoder(folder, **changes):
    parameters = {"n_components": 2, "hidden_sizes": (4,), "max_epochs": 4}
    return AutoencoderManifold(
        **{**parameters, "random_state": 0, "checkpoint": folder, **changes}
    )


def gan(folder, **changes):
    parameters = {"hidden_sizes": (4,), "max_epochs": 4, "random_state": 0}
    return LatentGAN(**{**parameters, "checkpoint": folder, **changes})


@pytest.fixture
def always_due(monkeypatch):
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)


SAME = [{}, {"verbose": True}, {"max_time": 1e6}, {"device": "cpu"}]


@pytest.mark.parametrize("model", [autoencoder, gan])
@pytest.mark.parametrize("changes", SAME, ids=str)
@pytest.mark.usefixtures("always_due")
def test_the_same_fit_resumes(tmp_path, model, changes):
    fit_cut(model(tmp_path))
    assert first_epoch(model(tmp_path, **changes)) == 2
    assert not list(tmp_path.iterdir())
    assert first_epoch(model(tmp_path)) == 1


OTHER = [
    {"learning_rate": 1e-4},
    {"max_epochs": 5},
    {"batch_size": 16},
    {"hidden_sizes": (5,)},
    {"random_state": 1},
    {"random_state": None},
    {"validation_fraction": 0.2},
]


@pytest.mark.parametrize("model", [autoencoder, gan])
@pytest.mark.parametrize("changes", OTHER, ids=str)
@pytest.mark.usefixtures("always_due")
def test_other_parameters_do_not_resume(tmp_path, model, changes):
    fit_cut(model(tmp_path))
    assert first_epoch(model(tmp_path, **changes)) == 1
    assert len(list(tmp_path.iterdir())) == 1  # that of the fit which was cut
    assert first_epoch(model(tmp_path)) == 2


@pytest.mark.parametrize("model", [autoencoder, gan])
@pytest.mark.usefixtures("always_due")
def test_other_rows_do_not_resume(tmp_path, model):
    fit_cut(model(tmp_path))
    changed = X.copy()
    changed[7, 3] = np.nextafter(changed[7, 3], 9)
    assert first_epoch(model(tmp_path), changed) == 1
    assert first_epoch(model(tmp_path), X[::-1]) == 1
    assert first_epoch(model(tmp_path), X[:, ::-1]) == 1
    assert first_epoch(model(tmp_path)) == 2


@pytest.mark.usefixtures("always_due")
def test_other_validation_rows_and_labels_do_not_resume(tmp_path):
    fit_cut(autoencoder(tmp_path), X_val=X[:5])
    assert first_epoch(autoencoder(tmp_path)) == 1
    assert first_epoch(autoencoder(tmp_path), X_val=X[:6]) == 1
    assert first_epoch(autoencoder(tmp_path), X_val=X[:5]) == 2
    y = np.arange(60) % 2
    fit_cut(gan(tmp_path, conditional=True), X, y)
    assert first_epoch(gan(tmp_path, conditional=True), X, 1 - y) == 1
    assert first_epoch(gan(tmp_path, conditional=True), X, y) == 2


@pytest.mark.usefixtures("always_due")
def test_another_loss_of_the_same_name_does_not_resume(tmp_path):
    fit_cut(autoencoder(tmp_path, loss=weighted(1.0)))
    assert first_epoch(autoencoder(tmp_path, loss=weighted(2.0))) == 1
    assert first_epoch(autoencoder(tmp_path, loss=weighted(1.0))) == 2


@pytest.mark.usefixtures("always_due")
def test_a_warm_start_does_not_resume_the_fit_from_other_weights(tmp_path):
    warm = {"warm_start": True}
    fit_cut(autoencoder(tmp_path, **warm))  # from scratch
    started = autoencoder(None, **warm, max_epochs=1).fit(X)
    started.set_params(checkpoint=tmp_path, max_epochs=4)
    assert first_epoch(started) == 1
    assert first_epoch(autoencoder(tmp_path, **warm)) == 2


@pytest.mark.usefixtures("always_due")
def test_without_a_seed_the_data_seed_the_fit(tmp_path):
    fit_cut(autoencoder(tmp_path, random_state=None))
    assert first_epoch(autoencoder(tmp_path, random_state=None)) == 2


@pytest.mark.usefixtures("always_due")
def test_the_renamed_file_of_another_fit_is_a_clear_error(tmp_path):
    fit_cut(autoencoder(tmp_path))
    (theirs,) = tmp_path.iterdir()
    content = theirs.read_bytes()
    theirs.unlink()
    fit_cut(autoencoder(tmp_path, learning_rate=1e-4))
    (mine,) = tmp_path.iterdir()
    mine.write_bytes(content)
    model = autoencoder(tmp_path, learning_rate=1e-4)
    with pytest.raises(ValueError, match="belongs to another fit"):
        model.fit(X)
    assert not hasattr(model, "encoder_")


@pytest.mark.usefixtures("always_due")
def test_a_corrupt_file_costs_the_resumption_not_the_fit(tmp_path):
    fit_cut(autoencoder(tmp_path))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:500])
    model = autoencoder(tmp_path)
    with pytest.warns(UserWarning, match="starts from the beginning"):
        model.fit(X)
    expected = autoencoder(None).fit(X)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_does_not_change_the_result(tmp_path):
    for model in (autoencoder, gan):
        with_file = model(tmp_path).set_params(validation_fraction=0.0).fit(X)
        without = model(None).set_params(validation_fraction=0.0).fit(X)
        name = with_file._networks[0]
        for mine, other in zip(
            getattr(with_file, name).parameters(),
            getattr(without, name).parameters(),
            strict=True,
        ):
            assert torch.equal(mine, other)
