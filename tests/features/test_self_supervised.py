"""Features learned without labels: the losses by hand, and what they are good for."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from manifoldgen import MahalanobisScorer
from manifoldgen.features import SelfSupervisedFeatures
from manifoldgen.features._self_supervised import OBJECTIVES, replace_columns
from manifoldgen.features._self_supervised_program import (
    SelfSupervisedProgram,
    SimclrLosses,
    TransformationLosses,
    VicregLosses,
)
from manifoldgen.nn.contrastive import nt_xent_loss, vicreg_terms
from manifoldgen.nn.transformations import TRANSFORMATIONS
from manifoldgen.training import make_optimizer

X, Y = load_digits(return_X_y=True)
IMAGES = X.reshape(-1, 8, 8)
TINY = {"max_epochs": 1, "channels": (3, 4), "random_state": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shifted(rows, generator):
    return rows + torch.rand(rows.shape, generator=generator)


def test_two_views_are_two_draws():
    network, rows = nn.Linear(4, 3), torch.rand(6, 4)
    draw = generator()
    first, second = (network(shifted(rows, draw)) for _ in range(2))
    found = SimclrLosses(shifted, 0.3)(network, rows, generator())
    torch.testing.assert_close(found["loss"], nt_xent_loss(first, second, 0.3))
    found = VicregLosses(shifted, (2.0, 3.0, 5.0))(network, rows, generator())
    terms = vicreg_terms(first, second)
    expected = sum(w * term for w, term in zip((2.0, 3.0, 5.0), terms, strict=True))
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["covariance"], terms.covariance)


def test_transformations_come_as_often_as_each_other_and_are_the_target():
    seen = []

    def transform(images, which):
        seen.append(which)
        return images + which[:, None, None, None]

    losses = TransformationLosses(
        lambda rows, generator: rows.reshape(-1, 1, 1, 1),
        transform,
        lambda images: 10.0 * images,
        3,
    )
    table = -torch.arange(30.0)[:, None].remainder(7) * torch.rand(1, 3)

    def network(images):
        return table[(images.flatten() / 10).long()]

    found = losses(network, torch.zeros(12, 1), generator())
    (which,) = seen
    assert torch.bincount(which).tolist() == [4, 4, 4]
    expected = F.cross_entropy(table[which], which)
    torch.testing.assert_close(found["loss"], expected)
    accuracy = (table[which].argmax(1) == which).float().mean()
    torch.testing.assert_close(found["accuracy"], accuracy)


def test_held_out_rows_are_seen_alike_in_each_epoch():
    network, head = nn.Linear(4, 3), nn.Linear(3, 3)
    program = SelfSupervisedProgram(
        network,
        head,
        make_optimizer("adam", [*network.parameters(), *head.parameters()], 1e-3),
        SimclrLosses(shifted, 0.5),
    )
    rows = torch.rand(513, 4)  # no block of one row, which has no other
    first, second = (program.validate((rows,))["loss"] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert torch.isfinite(first)
    with torch.no_grad():
        expected = program.losses(nn.Sequential(network, head), rows, generator())
    torch.testing.assert_close(first, expected["loss"])


def test_replaced_columns_come_from_the_same_column():
    rows = torch.arange(400.0)[:, None] * torch.tensor([1.0, 1e3, 1e6])
    changed = replace_columns(rows.reshape(400, 1, 1, 3), generator()).reshape(400, 3)
    for before, after in zip(rows.T, changed.T, strict=True):
        assert set(after.tolist()) <= set(before.tolist())
        assert 0.3 < (before != after).float().mean() < 0.5


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("rows", ["images", "strips"])
def test_each_objective_lowers_its_loss(objective, rows):
    features = SelfSupervisedFeatures(
        16,
        objective=objective,
        channels=(8, 16),
        max_epochs=5,
        validation_fraction=0.2,
        batch_size=64,
        random_state=0,
    )
    features.fit((IMAGES if rows == "images" else X)[:600])
    history = features.history_
    assert history["validation_loss"][-1] < history["validation_loss"][0]
    names = {"transformations": {"accuracy"}, "simclr": set()}
    names["vicreg"] = {"invariance", "variance", "covariance"}
    assert set(history.rows[0]) >= names[objective] | {"loss"}


@pytest.fixture(scope="module")
def threes():
    """Return features of one digit, learned from it alone."""
    features = SelfSupervisedFeatures(32, max_epochs=120, batch_size=64, random_state=0)
    return features.fit(IMAGES[:1200][Y[:1200] == 3])


def test_other_digits_are_far_from_one(threes):
    train, test = IMAGES[:1200][Y[:1200] == 3], IMAGES[1200:]
    scorer = MahalanobisScorer(random_state=0).fit(threes.transform(train))
    scores = scorer.score_samples(threes.transform(test))
    assert roc_auc_score(Y[1200:] == 3, scores) > 0.97


def test_features_are_logits_of_each_view_by_hand(threes):
    names = tuple(TRANSFORMATIONS)
    assert threes.transformations_ == names
    assert threes.layers_ == ("output",)
    assert threes.group_lengths_ == (len(names) ** 2,)
    train = IMAGES[:1200][Y[:1200] == 3]
    images = (torch.from_numpy(IMAGES[:5, None]) - train.mean()) / train.std()
    with torch.no_grad():
        expected = torch.cat(
            [
                threes.head_(threes.network_(TRANSFORMATIONS[name](images.float())))
                for name in names
            ],
            1,
        )
    np.testing.assert_allclose(
        threes.transform(IMAGES[:5]), expected, rtol=1e-3, atol=1e-3
    )


def test_views_and_layers_are_a_choice():
    features = SelfSupervisedFeatures(
        6,
        objective="vicreg",
        layers=("conv2", "hidden1"),
        views=("same", "mirror"),
        **TINY,
    ).fit(IMAGES[:60])
    found = features.transform(IMAGES[:60])
    assert features.group_lengths_ == (8, 12)
    assert features.transformations_ == ()
    mirrored = features.transform(IMAGES[:60, :, ::-1])
    np.testing.assert_allclose(found[:, :4], mirrored[:, 4:8], atol=1e-5)
    np.testing.assert_allclose(found[:, 8:14], mirrored[:, 14:], atol=1e-5)


def test_turns_are_left_out_where_images_are_no_squares():
    wide = X[:60].reshape(-1, 4, 16)
    features = SelfSupervisedFeatures(6, **TINY).fit(wide)
    assert "turn90" not in features.transformations_
    assert {"mirror", "up", "swap_rows"} <= set(features.transformations_)
    with pytest.raises(ValueError, match=r"squares alone\), got 'turn90' for .*4, 16"):
        SelfSupervisedFeatures(6, transformations=("same", "turn90"), **TINY).fit(wide)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"objective": "byol"}, ValueError, "'simclr', got 'byol'"),
        ({"projector_sizes": ()}, ValueError, "one width at least"),
        ({"temperature": 0.0}, ValueError, r"temperature must be .* got 0.0"),
        ({"invariance_weight": -1}, ValueError, "invariance_weight must be"),
        ({"transformations": ("same",)}, ValueError, "different names, 2 at least"),
        ({"transformations": ("same", "up", "up")}, ValueError, "different names"),
        ({"transformations": ("same", "twirl")}, ValueError, "got 'twirl' for images"),
        ({"views": ()}, ValueError, "views must be None or a tuple of different"),
        ({"views": "mirror"}, ValueError, "got 'mirror'"),
        ({"augment": ("spin",)}, ValueError, "got 'spin'"),
        ({"layers": "hidden2"}, ValueError, "conv1, conv2, hidden1, output, got"),
    ],
)
def test_bad_parameters_without_labels(parameters, error, match):
    with pytest.raises(error, match=match):
        SelfSupervisedFeatures(**{**TINY, **parameters}).fit(IMAGES[:60])


@pytest.mark.parametrize("name", ["augment", "transformations", "views"])
def test_strips_bear_no_changes_of_images(name):
    features = SelfSupervisedFeatures(**{**TINY, name: ("shift", "flip")})
    with pytest.raises(ValueError, match=f"{name} needs images of 2 by 2.*set {name}="):
        features.fit(X[:60])
