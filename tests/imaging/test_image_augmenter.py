"""The transformer that changes images, and the units that images come in."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from manifoldgen import AutoencoderManifold, ImageAugmenter, load, save
from manifoldgen._random import row_streams
from manifoldgen.nn import AUGMENTATIONS, apply_augmentation

EVERYTHING = list(AUGMENTATIONS)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (150, 3, 8, 6)).astype(np.uint8)


def test_a_row_is_changed_by_its_own_numbers_as_by_hand(images):
    strengths = dict(AUGMENTATIONS)
    augmenter = ImageAugmenter(strengths, random_state=3).fit(images)
    found = augmenter.transform(images)
    rows = images.reshape(150, -1)
    for k, stream in zip(range(5), row_streams(rows, augmenter._seed), strict=False):
        uniforms = torch.tensor(stream.random(13)[np.newaxis], dtype=torch.float32)
        normals = stream.standard_normal(144).reshape(1, 3, 8, 6)
        changed = apply_augmentation(
            torch.tensor(images[k : k + 1] / 255, dtype=torch.float32),
            strengths,
            uniforms,
            torch.tensor(normals, dtype=torch.float32),
        )
        expected = 255 * changed[0].clamp(0, 1)
        assert_allclose(found[k], expected, atol=1e-2)


def test_a_row_is_the_same_alone_in_a_batch_and_elsewhere(images):
    augmenter = ImageAugmenter(EVERYTHING, random_state=0)
    changed = augmenter.fit_transform(images)
    assert changed.dtype == np.float32
    assert changed.shape == images.shape
    assert_array_equal(augmenter.transform(images), changed)
    assert_array_equal(augmenter.transform(images[::-1])[::-1], changed)
    for k in (0, 63, 64, 149):
        assert_array_equal(augmenter.transform(images[k : k + 1])[0], changed[k])
    assert np.abs(changed - images).mean() > 5
    other = ImageAugmenter(EVERYTHING, random_state=1).fit_transform(images)
    assert np.abs(changed - other).mean() > 5


def test_equal_images_are_changed_alike_and_in_any_dtype():
    rng = np.random.default_rng(0)
    X = rng.random((10, 64)).astype(np.float32)
    augmenter = ImageAugmenter(image_shape=(1, 8, 8), random_state=0).fit(X)
    twice = augmenter.transform(np.concatenate([X, X]))
    assert_array_equal(twice[:10], twice[10:])
    assert_array_equal(augmenter.transform(X.astype(np.float64)), twice[:10])


@pytest.mark.parametrize("value_range", [None, (-3.0, 12.0)])
def test_values_keep_to_the_range_and_its_units(value_range):
    rng = np.random.default_rng(0)
    unit = rng.random((40, 1, 6, 6))
    low, high = value_range or (-2.0, 8.0)
    unit[0, 0, 0, :2] = 0, 1
    strong = {"color": 0.8, "noise": 0.5}
    X = low + (high - low) * unit
    augmenter = ImageAugmenter(strong, value_range=value_range, random_state=0)
    changed = augmenter.fit_transform(X)
    assert augmenter.value_range_ == (low, high)
    assert changed.min() == low
    assert changed.max() == high
    assert 0.2 < np.mean((changed == low) | (changed == high)) < 0.9


def test_moves_alone_keep_pixels_as_they_are(images):
    augmenter = ImageAugmenter({"flip": 1.0}, random_state=0)
    assert_array_equal(augmenter.fit_transform(images), images[..., ::-1])
    floats = np.random.default_rng(0).standard_normal((20, 5, 7)) * 100
    flipped = augmenter.fit_transform(floats)
    assert_allclose(flipped, floats[..., ::-1], rtol=1e-5, atol=1e-4)


def test_copies_come_with_their_labels(images):
    y = np.array(["a", "b", "c"])[np.arange(150) % 3]
    augmenter = ImageAugmenter(random_state=0).fit(images)
    X_new, y_new = augmenter.augment(images, y, n_copies=2, random_state=5)
    assert X_new.shape == (300, 3, 8, 6)
    assert_array_equal(y_new, np.concatenate([y, y]))
    assert np.abs(X_new[:150] - X_new[150:]).mean() > 1
    assert_array_equal(augmenter.augment(images, n_copies=2, random_state=5), X_new)
    assert not np.array_equal(augmenter.augment(images), augmenter.augment(images))
    # each copy is near the image that it comes from, and of its label
    gentle = ImageAugmenter({"noise": 0.01}).fit(images)
    near, labels = gentle.augment(images, y, n_copies=2)
    assert np.abs(near.astype(float) - np.concatenate([images, images])).max() < 20
    assert_array_equal(labels, y_new)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        augmenter.augment(images, y[1:])
    with pytest.raises(ValueError, match="n_copies must be an int >= 1, got 0"):
        augmenter.augment(images, n_copies=0)


def test_frames_files_and_pipelines(digits, tmp_path):
    X, y = digits
    frame = pd.DataFrame(X, columns=[f"pixel {k}" for k in range(64)])
    augmenter = ImageAugmenter(image_shape=(1, 8, 8), random_state=0)
    augmenter.set_output(transform="pandas").fit(frame)
    changed = augmenter.transform(frame)
    assert list(changed.columns) == list(frame.columns)
    assert list(augmenter.augment(frame).columns) == list(frame.columns)
    save(augmenter, tmp_path / "augmenter")
    for copied in (load(tmp_path / "augmenter"), pickle.loads(pickle.dumps(augmenter))):
        copied.set_output(transform="default")
        assert_array_equal(copied.transform(frame), changed.to_numpy())
    model = make_pipeline(
        ImageAugmenter({"shift": 0.125}, image_shape=(1, 8, 8), random_state=0),
        LogisticRegression(max_iter=50),
    )
    assert model.fit(X[:100] / 16, y[:100]).predict(X[:5] / 16).shape == (5,)


def test_the_global_generators_are_left_alone(images):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    ImageAugmenter(EVERYTHING).fit(images).augment(images)
    assert torch.equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"operations": ["spin"]}, "operations must name operations among flip"),
        ({"operations": {"crop": 1.0}}, r"operations\['crop'\] must be"),
        ({"value_range": (0, 100)}, r"value_range=\(0, 100\), got some in \[0, 255\]"),
        ({"value_range": (1, 0)}, "the lowest and the highest"),
        ({"value_range": "0 to 1"}, "the lowest and the highest"),
        ({"image_shape": (1, 8, 8)}, "product of n_features=144"),
        ({"random_state": -1}, "random_state must be"),
    ],
)
def test_bad_parameters(images, parameters, match):
    with pytest.raises(ValueError, match=match):
        ImageAugmenter(**parameters).fit(images)


def test_images_with_channels_last_and_rows_out_of_range(images):
    with pytest.raises(ValueError, match="channels last"):
        ImageAugmenter().fit(images.transpose(0, 2, 3, 1))
    unit = images / 255
    augmenter = ImageAugmenter(value_range=(0, 1)).fit(unit)
    for call in (augmenter.transform, augmenter.augment):
        with pytest.raises(ValueError, match=r"\[0, 255\]. Rescale X"):
            call(images.astype(np.float64))


IMAGE_MODELS = {
    "augmenter": lambda: ImageAugmenter(image_shape=(1, 8, 8)),
    "autoencoder": lambda: AutoencoderManifold(
        2, hidden_sizes=(4,), image_shape=(1, 8, 8), max_epochs=1, random_state=0
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_bytes_and_shares_of_one_are_not_mixed(digits, model):
    shares = digits[0][:60] / 16
    whole = (255 * shares).astype(np.uint8)
    of_bytes = IMAGE_MODELS[model]().fit(whole)
    with pytest.raises(ValueError, match=r"uint8 of 0 to 255.*Multiply them by 255"):
        of_bytes.transform(shares)
    of_shares = IMAGE_MODELS[model]().fit(shares)
    with pytest.raises(ValueError, match=r"floats in .0, 1.*up to 255. Divide"):
        of_shares.transform(whole)
    # floats with fractions in 0 to 255, and black and white, are what they are
    assert np.isfinite(of_bytes.transform(255 * shares)).all()
    assert np.isfinite(of_bytes.transform(np.round(shares))).all()
    assert np.isfinite(of_shares.transform(np.round(shares).astype(np.uint8))).all()
    if model == "autoencoder":
        with pytest.raises(ValueError, match="Multiply them by 255"):
            IMAGE_MODELS[model]().fit(whole, X_val=shares)
        with pytest.raises(ValueError, match="Divide them by 255"):
            of_shares.partial_fit(whole)
