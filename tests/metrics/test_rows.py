"""Features of rows: what every measure of generated rows does with a callable."""

import numpy as np
import pytest

from manifoldgen.metrics import (
    classifier_two_sample_test,
    energy_distance,
    frechet_distance,
    frechet_distance_limit,
    kernel_distance,
    membership_auc,
    mode_coverage,
    near_copy_share,
    precision_recall_density_coverage,
    sliced_wasserstein,
    train_on_synthetic,
)


def membership(X, Y, **options):
    return membership_auc(X, X, Y, **options)


def synthetic(X, Y, **options):
    y = np.arange(len(X)) % 2
    return train_on_synthetic(X, y, Y, y, X_train=X, y_train=y, **options)


def coverage(X, Y, **options):
    def halves(rows):
        return (np.reshape(rows, (len(rows), -1))[:, 0] > 0).astype(int)

    found = mode_coverage(Y, halves, y_real=np.arange(8) % 2, **options)
    return found.shares.tolist()


MEASURES = [
    classifier_two_sample_test,
    coverage,
    energy_distance,
    frechet_distance,
    frechet_distance_limit,
    kernel_distance,
    membership,
    near_copy_share,
    precision_recall_density_coverage,
    sliced_wasserstein,
    synthetic,
]


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).randn(2, 40, 1, 5, 6)


@pytest.mark.parametrize("measure", MEASURES)
def test_features_of_images_are_measured_in_their_place(measure, images):
    X, Y = images

    def columns(rows):
        assert rows.shape[1:] == (1, 5, 6)  # as they were given
        return rows[:, 0, :, 2]

    found = measure(X, Y, features=columns)
    assert found == measure(X[:, 0, :, 2], Y[:, 0, :, 2])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda X: np.full((len(X), 2), np.nan), "got 40 of 40 with NaN or infinity"),
        (lambda X: np.where(X[:, 0, :, 0] > 3, np.inf, 1e300 * X[:, 0, :, 0]), "1e150"),
        (lambda X: X[1:, 0, 0], "got 39 rows for 40"),
        (lambda X: X[:, 0], r"got an array of shape \(40, 5, 6\)"),
        (lambda X: X[:, 0, 0, 0], r"got an array of shape \(40,\)"),
        (lambda X: X[:, 0, 0, :0], r"got an array of shape \(40, 0\)"),
        (lambda X: X[:, 0, 0].astype(str), "and <U"),
    ],
)
def test_features_that_are_none_are_refused(measure, features, message, images):
    with pytest.raises(ValueError, match=message):
        measure(*images, features=features)


@pytest.mark.parametrize("measure", MEASURES)
def test_features_must_be_callable(measure, images):
    with pytest.raises(TypeError, match="features must be None or a callable"):
        measure(*images, features="inception")


def test_the_sample_whose_features_fail_is_named(images):
    X, Y = images

    def features(rows):
        return rows[:, 0, 0] * np.where(rows is Y, np.nan, 1.0)

    with pytest.raises(ValueError, match=r"row of X_generated, got 40 of 40 with NaN"):
        frechet_distance(X, Y, features=features)


def test_samples_whose_features_differ_in_width_are_refused(images):
    X, Y = images
    with pytest.raises(ValueError, match="as many columns as each other, got 6 and 5"):
        kernel_distance(
            X, Y, features=lambda A: A[:, 0, 0] if A is X else A[:, 0, :, 0]
        )


def test_lists_and_tensors_are_rows():
    import torch

    X, Y = torch.arange(8.0).reshape(4, 2), torch.ones(4, 2)
    expected = energy_distance(X.numpy() ** 2, Y.numpy())
    assert energy_distance(X, Y, features=torch.square) == expected
    assert energy_distance(X.tolist(), Y.tolist(), features=np.square) == expected
