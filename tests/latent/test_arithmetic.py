import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from manifoldgen import AutoencoderManifold, latent_arithmetic


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(6).fit(digits[0])


@pytest.fixture(scope="module")
def groups(digits):
    X, y = digits
    return X[y == 8], X[y == 1], X[y == 3]


def test_a_linear_model_adds_means_of_rows(pca, groups):
    a, b, c = groups
    # projected on the plane of the model, in which the origin cancels
    sum_of_means = a.mean(axis=0) + b.mean(axis=0) - c.mean(axis=0)
    expected = pca.inverse_transform(pca.transform(sum_of_means[None]))[0]
    np.testing.assert_allclose(latent_arithmetic(pca, [a, b], [c]), expected)


def test_rows_of_their_own_take_the_difference(pca, groups):
    a, b, c = groups
    rows = latent_arithmetic(pca, [a], [c], start=b[:4])
    assert rows.shape == (4, 64)
    moved = b[:4] + a.mean(axis=0) - c.mean(axis=0)
    expected = pca.inverse_transform(pca.transform(moved))
    np.testing.assert_allclose(rows, expected)
    np.testing.assert_allclose(
        latent_arithmetic(pca, [a], [c], start=b[0]), expected[0]
    )


def test_a_group_of_one_row(pca, groups):
    a, b, _ = groups
    back = pca.inverse_transform(pca.transform(a[:1]))[0]
    np.testing.assert_allclose(latent_arithmetic(pca, [a[0]]), back)
    np.testing.assert_allclose(latent_arithmetic(pca, [a[0], b], [b]), back)


def test_images_come_back_as_images(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    quick = AutoencoderManifold(
        3, hidden_sizes=(16,), max_epochs=2, device="cpu", random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick.fit(images)
    add, subtract = [images[y == 8], images[0]], [images[y == 3]]
    image = latent_arithmetic(quick, add, subtract)
    assert image.shape == (8, 8)
    Z = quick.transform(images)
    z = Z[y == 8].mean(axis=0) + Z[0] - Z[y == 3].mean(axis=0)
    expected = quick.inverse_transform(z[None])[0]
    np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-5)
    moved = latent_arithmetic(quick, add[:1], subtract, start=images[:2])
    assert moved.shape == (2, 8, 8)
    assert moved.dtype == np.float32


def test_frames_and_pipelines_that_generate(digits):
    X, y = digits
    frame = pd.DataFrame(X).add_prefix("pixel ")
    pipe = make_pipeline(StandardScaler(), PCA(3), GaussianMixture()).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = latent_arithmetic(pipe, [frame[y == 1]], [frame[y == 2]])
    head = pipe[:-1]
    z = head.transform(frame[y == 1]).mean(axis=0)
    z = z - head.transform(frame[y == 2]).mean(axis=0)
    np.testing.assert_allclose(row, head.inverse_transform(z[None])[0])


def test_groups_that_are_refused(pca, groups):
    a, b, _ = groups
    with pytest.raises(TypeError, match="add must be a list of groups of rows, got nd"):
        latent_arithmetic(pca, a, [b])
    with pytest.raises(TypeError, match=r"subtract must be a list .* got ndarray"):
        latent_arithmetic(pca, [a], b)
    with pytest.raises(ValueError, match="add must hold at least one group"):
        latent_arithmetic(pca, [])
    with pytest.raises(ValueError, match=r"add\[1\] must hold at least one row"):
        latent_arithmetic(pca, [a, b[:0]])
    with pytest.raises(ValueError, match=r"subtract\[0\] must .* row of data, got 3"):
        latent_arithmetic(pca, [a], [3])
    with pytest.raises(ValueError, match="64 features") as caught:
        latent_arithmetic(pca, [a], [b, b[:, :5]])
    assert caught.value.__notes__ == ["That is of the rows in subtract[1]."]
    with pytest.raises(ValueError, match="NaN"):
        latent_arithmetic(pca, [np.full((2, 64), np.nan)])
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        latent_arithmetic(Normalizer().fit(a), [a])
    with pytest.raises(NotFittedError):
        latent_arithmetic(PCA(2), [a])
