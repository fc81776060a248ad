"""Features of a classifier: what it learns, what it returns, and labels it refuses."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from manifoldgen import MahalanobisScorer
from manifoldgen.features import ClassifierFeatures
from manifoldgen.features._classifier_program import ClassifierProgram
from manifoldgen.nn import MLP
from manifoldgen.nn.backbones import FeatureNetwork
from manifoldgen.training import make_optimizer

X, Y = load_digits(return_X_y=True)
IMAGES = X.reshape(-1, 8, 8)
TRAIN, TEST = slice(0, 1200), slice(1200, None)
TINY = {"max_epochs": 1, "channels": (3, 4), "random_state": 0}


def accuracy(features, rows, y):
    return np.mean(features.predict(rows) == y)


@pytest.fixture(scope="module")
def fitted():
    features = ClassifierFeatures(32, max_epochs=20, batch_size=32, random_state=0)
    return features.fit(IMAGES[TRAIN], Y[TRAIN])


def test_classes_are_told_apart(fitted):
    assert accuracy(fitted, IMAGES[TEST], Y[TEST]) > 0.9
    features = fitted.transform(IMAGES)
    head = LogisticRegression(max_iter=1000).fit(features[TRAIN], Y[TRAIN])
    assert head.score(features[TEST], Y[TEST]) > 0.9


def test_features_probabilities_and_classes_by_hand(fitted):
    # pixels of 0 to 16 as shares of that range, then by mean and spread of them all
    shares = torch.from_numpy(IMAGES[:9, None] / 16).float()
    images = (shares - X[TRAIN].mean() / 16) / (X[TRAIN].std() / 16)
    with torch.no_grad():
        hidden = fitted.network_(images)
        logits = fitted.head_(hidden)
    np.testing.assert_allclose(
        fitted.transform(IMAGES[:9]), hidden, rtol=1e-4, atol=1e-4
    )
    probabilities = fitted.predict_proba(IMAGES[:9])
    np.testing.assert_allclose(probabilities, logits.softmax(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(IMAGES[:9]), logits.argmax(1))
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_layers_stand_side_by_side():
    both = ClassifierFeatures(
        6, layers=("conv1", "hidden1", "output"), pooling="max", **TINY
    ).fit(IMAGES[:90], Y[:90])
    assert both.group_lengths_ == (3, 6, 10)
    found = both.transform(IMAGES[:90])
    one = ClassifierFeatures(6, **TINY).fit(IMAGES[:90], Y[:90])
    np.testing.assert_array_equal(one.transform(IMAGES[:90]), found[:, 3:9])
    odds = np.exp(found[:, 9:].astype(float))
    np.testing.assert_allclose(
        one.predict_proba(IMAGES[:90]), odds / odds.sum(1, keepdims=True), rtol=1e-5
    )


def test_what_is_none_of_the_classes_is_far(fitted):
    features = fitted.transform(IMAGES)
    scorer = MahalanobisScorer(random_state=0).fit(features[TRAIN])
    shuffled = np.random.default_rng(0).permuted(X[TEST], axis=1).reshape(-1, 8, 8)
    far = scorer.score_samples(fitted.transform(shuffled))
    near = scorer.score_samples(features[TEST])
    is_near = np.repeat([1, 0], [len(near), len(far)])
    assert roc_auc_score(is_near, np.concatenate([near, far])) > 0.85


@pytest.mark.parametrize("half", [False, True])
def test_a_step_lowers_the_cross_entropy_of_its_batch(half):
    generator = torch.Generator().manual_seed(0)
    network = FeatureNetwork((1, 4, 4), (3,), (8,), generator=generator)
    head = MLP((8, 3), generator=generator)
    parameters = [*network.parameters(), *head.parameters()]
    program = ClassifierProgram(
        network,
        head,
        make_optimizer("sgd", parameters, 1e-2),
        shares=lambda rows: rows.reshape(-1, 1, 4, 4),
        normalize=lambda images: images - 0.5,
        label_smoothing=0.1,
        half=half,
    )
    rows, classes = torch.rand(20, 16, generator=generator), torch.arange(20) % 3

    def loss():
        logits = head(network(rows.reshape(-1, 1, 4, 4) - 0.5))
        return F.cross_entropy(logits, classes, label_smoothing=0.1).item()

    before = loss()
    found = program.step((rows, classes), generator)["loss"].item()
    np.testing.assert_allclose(found, before, rtol=1e-2 if half else 1e-5)
    assert loss() < before


def test_figures_of_held_out_rows_are_means_over_all_blocks():
    generator = torch.Generator().manual_seed(0)
    network = FeatureNetwork((1, 2, 2), (), (8,), generator=generator)
    head = MLP((8, 2), generator=generator)
    program = ClassifierProgram(
        network,
        head,
        make_optimizer("adam", head.parameters(), 1e-2),
        shares=lambda rows: rows.reshape(-1, 1, 2, 2),
        normalize=lambda images: images,
    )
    rows, classes = torch.rand(1100, 4, generator=generator), torch.arange(1100) % 2
    found = program.validate((rows, classes))
    with torch.no_grad():
        logits = head(network(rows.reshape(-1, 1, 2, 2)))
    torch.testing.assert_close(found["loss"], F.cross_entropy(logits, classes))
    accuracy = (logits.argmax(1) == classes).float().mean()
    torch.testing.assert_close(found["accuracy"], accuracy)


@pytest.mark.parametrize("kind", ["text", "float", "bool", "object"])
def test_labels_of_any_kind(kind):
    y = {
        "text": np.where(Y % 2, "odd", "even"),
        "float": (Y % 2).astype(float),
        "bool": Y % 2 == 1,
        "object": np.where(Y % 2, "odd", "even").astype(object),
    }[kind][:90]
    features = ClassifierFeatures(4, **TINY).fit(X[:90], y)
    assert features.classes_.tolist() == sorted(set(y.tolist()))
    assert set(features.predict(X[:90]).tolist()) <= set(y.tolist())


NAN = np.where(np.arange(90) == 3, np.nan, Y[:90])


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y to be passed, but the target y is None.*SelfSup"),
        (np.zeros(90), "2 classes at least.*got 1 class, y=0.0 alone.*SelfSup"),
        (NAN, r"got 1 missing ones \(NaN or None\)"),
        ([None, *Y[1:90].tolist()], "got 1 missing ones"),
        (Y[:89], "inconsistent numbers of samples"),
        (X[:90, 2] + 0.5 * np.arange(90) / 90, "Unknown label type: continuous"),
        (np.eye(90)[:, :2], "1d array"),
    ],
    ids=["none", "one", "nan", "missing", "short", "continuous", "table"],
)
def test_labels_that_are_no_classes(y, match):
    features = ClassifierFeatures(4, **TINY)
    with pytest.raises(ValueError, match=match):
        features.fit(X[:90], y)
    assert not [name for name in vars(features) if name.endswith("_")]


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"n_features": 0}, ValueError, "n_features must be an int >= 1, got 0"),
        ({"channels": (0,)}, ValueError, "channels must be a tuple of ints >= 1"),
        ({"hidden_sizes": 3}, TypeError, "hidden_sizes must be a tuple of ints"),
        ({"activation": "step"}, ValueError, "'tanh', got 'step'"),
        ({"layers": "conv3"}, ValueError, "conv1, conv2, hidden1, output, got 'conv3'"),
        ({"pooling": None}, ValueError, "pooling must be one of"),
        ({"augment": ("spin",)}, ValueError, "got 'spin'"),
        ({"dropout": 1.0}, ValueError, r"\[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, ValueError, r"\[0, 1\), got -0.1"),
        ({"optimizer": "lion"}, ValueError, "'rmsprop', got 'lion'"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be"),
        ({"max_epochs": 0}, ValueError, "max_epochs must be an int >= 1, got 0"),
        ({"precision": "float16"}, ValueError, "'bf16', got 'float16'"),
        ({"image_shape": (1, 4, 4)}, ValueError, "image_shape must be"),
    ],
)
def test_bad_parameters_of_a_classifier(parameters, error, match):
    with pytest.raises(error, match=match):
        ClassifierFeatures(**{**TINY, **parameters}).fit(IMAGES[:90], Y[:90])


def test_strips_have_no_convolutions_and_are_standardised():
    rows, y = load_breast_cancer(return_X_y=True)
    features = ClassifierFeatures(16, max_epochs=10, batch_size=32, random_state=0).fit(
        rows[::2], y[::2]
    )
    assert features.network_.stage_names == ("hidden1",)
    assert accuracy(features, rows[1::2], y[1::2]) > 0.88
    with pytest.raises(ValueError, match=r"augment needs images of 2 by 2.*set aug"):
        ClassifierFeatures(augment=["shift"], **TINY).fit(rows, y)


def test_bytes_and_shares_of_the_same_images_have_the_same_features():
    images = (IMAGES[:120] * 15.9375).astype(np.uint8)
    kept = {"validation_fraction": 0.0, **TINY}
    of_bytes = ClassifierFeatures(8, **kept).fit(images, Y[:120])
    of_shares = ClassifierFeatures(8, **kept).fit(images / 255, Y[:120])
    np.testing.assert_allclose(
        of_bytes.transform(images), of_shares.transform(images / 255), atol=1e-4
    )


def test_changed_images_and_half_precision_learn_too():
    features = ClassifierFeatures(
        16,
        augment={"rotate": 10.0, "shift": 0.125},
        dropout=0.1,
        precision="bf16",
        max_epochs=6,
        batch_size=32,
        random_state=0,
    ).fit(IMAGES[:600], Y[:600])
    rows = features.history_.rows
    assert rows[-1]["validation_loss"] < 0.8 * rows[0]["validation_loss"]
    assert rows[-1]["validation_accuracy"] > 0.3
    assert set(rows[0]) >= {"loss", "validation_loss", "validation_accuracy"}


def test_a_planned_end_is_no_warning_and_another_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ClassifierFeatures(4, max_epochs=3, random_state=0).fit(X[:200], Y[:200])
    other = ClassifierFeatures(4, max_epochs=3, schedule="constant", random_state=0)
    with pytest.warns(ConvergenceWarning, match="still falling") as caught:
        other.fit(X[:200], Y[:200])
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
