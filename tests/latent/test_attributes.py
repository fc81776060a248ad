import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from manifoldgen import (
    AttributeDirection,
    AutoencoderManifold,
    attribute_direction,
    shift_attribute,
)


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(6).fit(digits[0])


@pytest.fixture(scope="module")
def plain():
    """Latents that are the data: both ways are the identity."""
    return FunctionTransformer(lambda Z: Z, inverse_func=lambda Z: Z)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_two_classes_by_hand(plain):
    Z = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 3.0], [4.0, 5.0]])
    found = attribute_direction(plain, Z, ["no", "no", "yes", "yes"])
    # means (0, 1) and (4, 4): the direction (4, 3) / 5, on it 0, 1.2, 5, 6.2
    scale = np.std([0.0, 1.2, 5.0, 6.2])
    np.testing.assert_allclose(found.directions, [[0.8 * scale, 0.6 * scale]])
    np.testing.assert_allclose(found.scales, [scale])
    np.testing.assert_allclose(found.center, [2.0, 2.5])
    np.testing.assert_allclose(
        found.correlations, np.corrcoef([0.0, 1.2, 5.0, 6.2], [0, 0, 1, 1])[0, 1]
    )
    assert found.classes.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(found.toward("yes"), found.directions[0])
    np.testing.assert_array_equal(found.toward("no"), -found.directions[0])
    np.testing.assert_array_equal(found.toward(), found.directions[0])


@pytest.mark.parametrize("method", ["mean", "discriminant"])
@pytest.mark.parametrize("target", ["two", "ten", "number"])
def test_steps_are_standard_deviations_and_correlations_pearsons(
    pca, digits, method, target
):
    X, y = digits
    if target == "number":
        y, told = X.sum(axis=1) + 0.5, [X.sum(axis=1)]
    elif target == "two":
        y, told = np.where(y > 4, "high", "low"), [y <= 4]
    else:
        told = [y == k for k in range(10)]
    found = attribute_direction(pca, X, y, method=method)
    Z = pca.transform(X)
    assert found.directions.shape == (len(told), 6)
    places = found.project(Z)
    np.testing.assert_allclose(places.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(places.std(axis=0), 1.0)
    np.testing.assert_allclose(
        found.scales, np.linalg.norm(found.directions, axis=1), rtol=1e-12
    )
    for k, values in enumerate(told):
        expected = np.corrcoef(places[:, k], values)[0, 1]
        np.testing.assert_allclose(found.correlations[k], expected)
        moved = found.project(Z + 1.5 * found.directions[k])
        np.testing.assert_allclose(moved[:, k], places[:, k] + 1.5)


def test_the_mean_is_the_difference_of_a_class_to_the_others(pca, digits):
    X, y = digits
    Z = pca.transform(X)
    found = attribute_direction(pca, X, y)
    for k in range(10):
        expected = Z[y == k].mean(axis=0) - Z[y != k].mean(axis=0)
        np.testing.assert_allclose(unit(found.toward(k)), unit(expected))


def test_the_discriminant_is_scikit_learns(pca, digits):
    X, y = digits
    Z, odd = pca.transform(X), y % 2
    found = attribute_direction(pca, X, odd, method="discriminant")
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(Z, odd)
    cosine = unit(found.directions)[0] @ unit(lda.coef_)[0]
    assert cosine > 0.9999  # but for the shrinkage


def test_a_number_by_least_squares(plain):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(5000, 3)) @ [[2.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.5]]
    y = Z @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=5000)
    centered = Z - Z.mean(axis=0)
    for method, expected in (
        ("mean", (y - y.mean()) @ centered),
        ("discriminant", LinearRegression().fit(Z, y).coef_),
    ):
        found = attribute_direction(plain, Z, y, method=method)
        assert found.classes is None
        assert unit(found.toward()) @ unit(expected) > 0.9999


def test_the_unit_of_a_number_does_not_matter(pca, digits):
    X, y = digits
    expected = attribute_direction(pca, X, y + 0.5)
    for unit_of_y in (1e-300, 1e305):
        found = attribute_direction(pca, X, unit_of_y * (y + 0.5), target="number")
        np.testing.assert_allclose(found.directions, expected.directions)
        np.testing.assert_allclose(found.correlations, expected.correlations)


def test_frames_go_in_and_latents_may_be_frames(digits):
    X, y = digits
    frame = pd.DataFrame(X).add_prefix("pixel ")
    pipe = make_pipeline(StandardScaler(), PCA(3)).set_output(transform="pandas")
    pipe.fit(frame)
    arrays = make_pipeline(StandardScaler(), PCA(3)).fit(frame)
    plain = attribute_direction(arrays, frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = attribute_direction(pipe, frame, pd.Series(y))
        rows = shift_attribute(pipe, frame[:2], found, [0.0, 1.0], label=4)
        one = shift_attribute(pipe, frame.iloc[1], found, [0.0, 1.0], label=4)
    np.testing.assert_array_equal(found.directions, plain.directions)
    assert rows.shape == (2, 2, 64)
    np.testing.assert_allclose(one, rows[1])


def test_the_mean_follows_what_comes_along_and_the_discriminant_does_not(plain):
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=4000)
    along = np.where(rng.uniform(size=4000) < 0.9, y, 1 - y)  # mostly with y
    noise = 0.1 * rng.normal(size=(4000, 2))
    Z = np.column_stack([y, along]) + noise
    cosines = {
        method: unit(attribute_direction(plain, Z, y, method=method).toward())[0]
        for method in ("mean", "discriminant")
    }
    assert cosines["mean"] < 0.8
    assert cosines["discriminant"] > 0.99


def test_linear_units_of_latents_do_not_matter_to_the_discriminant():
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(60, 40))
    y = Z[:, 0] + rng.normal(size=60) > 0
    units = np.geomspace(1e-3, 1e3, 40)
    places = [
        attribute_direction(
            FunctionTransformer(lambda Z, s=s: s * Z, inverse_func=lambda Z: Z),
            Z,
            y,
            method="discriminant",
        ).project(s * Z)
        for s in (np.ones(40), units)
    ]
    np.testing.assert_allclose(*places, rtol=1e-6, atol=1e-8)


def test_more_latents_than_rows_and_a_constant_one(plain):
    rng = np.random.default_rng(3)
    Z = rng.normal(size=(50, 100))
    Z[:, 7] = 3.0
    found = attribute_direction(plain, Z, Z[:, 0] > 0, method="discriminant")
    assert np.isfinite(found.directions).all()
    assert found.directions[0, 7] == 0.0
    new = rng.normal(size=(500, 100))
    new[:, 7] = 3.0
    assert np.corrcoef(found.project(new)[:, 0], new[:, 0])[0, 1] > 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_steps_turn_threes_into_eights_for_a_classifier(seed):
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))
    learn, judge = rows[:900], rows[900:]
    judged_by = LogisticRegression(max_iter=200).fit(X[judge] / 16, y[judge])
    pca = PCA(16).fit(X[learn])
    pair = learn[np.isin(y[learn], (3, 8))]
    found = attribute_direction(pca, X[pair], y[pair])
    threes = X[pair][y[pair] == 3]
    shares = [
        np.mean(judged_by.predict(moved / 16) == 8)
        for moved in np.moveaxis(shift_attribute(pca, threes, found, [0, 1, 2]), 1, 0)
    ]
    assert shares[0] < 0.05
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.85


def test_as_many_classes_as_rows(plain):
    Z = np.random.default_rng(0).normal(size=(3000, 4))
    names = [f"name {k:04d}" for k in range(3000)]
    found = attribute_direction(plain, Z, names)
    assert found.directions.shape == (3000, 4)
    np.testing.assert_allclose(unit(found.directions), unit(Z - Z.mean(axis=0)))


def test_labels_of_any_type_give_one_direction(pca, digits):
    X, y = digits
    big = y > 4
    expected = attribute_direction(pca, X, big).directions
    for labels in (
        big.astype(int),
        big.astype(float),
        np.where(big, "b", "a"),
        np.where(big, "b", "a").astype(object),
        big.astype(object),
        pd.Series(np.where(big, "b", "a"), dtype="category"),
        pd.Series(np.where(big, "b", "a"), dtype="string"),
        big[:, None].ravel().tolist(),
    ):
        found = attribute_direction(pca, X, labels)
        np.testing.assert_array_equal(found.directions, expected)


def test_what_whole_numbers_are(pca, digits):
    X, y = digits
    many = np.arange(len(X))
    with pytest.raises(ValueError, match="target must be 'class' or 'number'"):
        attribute_direction(pca, X, many)
    assert attribute_direction(pca, X, many, target="number").classes is None
    assert attribute_direction(pca, X, y, target="number").directions.shape == (1, 6)
    halves = y / 2
    assert attribute_direction(pca, X, halves).classes is None
    found = attribute_direction(pca, X, halves, target="class")
    np.testing.assert_array_equal(found.classes, np.arange(10) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:-1], r"one value for each of the 500 rows of X, got 499"),
        (lambda y: np.zeros(500, int), "at least 2 classes, got 0 alone"),
        (lambda y: ["a"] * 500, "at least 2 classes"),
        (lambda y: np.full(500, 1.5), "different numbers, got 1.5 alone"),
        (lambda y: np.where(y == 3, np.nan, y), "missing or infinite ones, the first"),
        (lambda y: np.where(y == 3, np.inf, y), "first in row 3"),
        (lambda y: ["a", None] * 250, "got 250 missing .* first in row 1"),
        (lambda y: ["a", np.nan] * 250, "got 250 missing"),
        (lambda y: pd.Series(["a", pd.NA] * 250, dtype="string"), "got 250 missing"),
        (lambda y: np.stack([y, y], axis=1), "1d array"),
    ],
)
def test_labels_that_are_refused(pca, digits, change, message):
    X, y = digits
    with pytest.raises(ValueError, match=message):
        attribute_direction(pca, X, change(y))


def test_other_bad_input(pca, plain, digits):
    X, y = digits
    with pytest.raises(TypeError, match="labels of one type, got int, str"):
        attribute_direction(pca, X, np.array(["a", 1] * 250, dtype=object))
    with pytest.raises(ValueError, match="numbers where target='number', got 'a'"):
        attribute_direction(pca, X, ["a", "b"] * 250, target="number")
    with pytest.raises(ValueError, match="'mean', 'discriminant', got 'svm'"):
        attribute_direction(pca, X, y, method="svm")
    with pytest.raises(ValueError, match="target must be one of"):
        attribute_direction(pca, X, y, target="classes")
    with pytest.raises(TypeError, match="Normalizer has no inverse_transform"):
        attribute_direction(Normalizer().fit(X), X, y)
    with pytest.raises(ValueError, match=r"manifold.transform\(X\) contains NaN"):
        attribute_direction(plain, np.full((4, 2), np.nan), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="differ with y, got none that differ with y"):
        attribute_direction(plain, np.ones((4, 2)), [0, 1, 0, 1])
    rng = np.random.default_rng(0)
    half = rng.normal(size=(50, 3))
    with pytest.raises(ValueError, match="none that differ with y"):
        # but for rounding: each row is in both classes
        attribute_direction(plain, np.concatenate([half, half]), [0] * 50 + [1] * 50)
    same = np.array([[0.0], [2.0], [0.0], [2.0], [1.0], [1.0]])
    with pytest.raises(ValueError, match="none that differ with class 'a'"):
        attribute_direction(plain, same, ["a", "a", "b", "b", "c", "c"])


def test_labels_that_are_not_there(pca, digits):
    X, y = digits
    found = attribute_direction(pca, X, y)
    with pytest.raises(ValueError, match=r"one of 0, 1, .*, 9, got None"):
        found.toward()
    with pytest.raises(ValueError, match="got 'x'"):
        found.toward("x")
    with pytest.raises(ValueError, match="label must be None for a direction of a num"):
        attribute_direction(pca, X, y + 0.5).toward(1)


def test_shifted_rows_of_a_linear_model(pca, digits):
    X, y = digits
    found = attribute_direction(pca, X, y)
    steps = [0.0, 1.0, -2.5]
    rows = shift_attribute(pca, X[:4], found, steps, label=3)
    assert rows.shape == (4, 3, 64)
    back = pca.inverse_transform(pca.transform(X[:4]))
    in_data = found.toward(3) @ pca.components_
    for k, step in enumerate(steps):
        np.testing.assert_allclose(rows[:, k], back + step * in_data, atol=1e-9)
    one = shift_attribute(pca, X[1], found.toward(3), steps)
    np.testing.assert_allclose(one, rows[1], atol=1e-9)


def test_images_and_pipelines_that_generate(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    quick = AutoencoderManifold(
        3, hidden_sizes=(16,), max_epochs=2, device="cpu", random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick.fit(images)
    found = attribute_direction(quick, images, y > 4)
    rows = shift_attribute(quick, images[:3], found, [0.0, 2.0])
    assert rows.shape == (3, 2, 8, 8)
    assert rows.dtype == np.float32
    back = quick.inverse_transform(quick.transform(images[:3]))
    np.testing.assert_array_equal(rows[:, 0], back)
    assert shift_attribute(quick, images[0], found).shape == (5, 8, 8)
    pipe = make_pipeline(StandardScaler(), PCA(4), GaussianMixture()).fit(X)
    found = attribute_direction(pipe, X, y > 4)
    rows = shift_attribute(pipe, X[:3], found)
    expected = pipe[:-1].inverse_transform(pipe[:-1].transform(X[:3]))
    np.testing.assert_allclose(rows[:, 2], expected)


def test_shifts_that_are_refused(pca, digits):
    X, y = digits
    found = attribute_direction(pca, X, y)
    with pytest.raises(ValueError, match="label must be one of"):
        shift_attribute(pca, X, found)
    with pytest.raises(ValueError, match="label must be None where direction is an"):
        shift_attribute(pca, X, found.toward(1), label=1)
    with pytest.raises(ValueError, match=r"finite vector .* got shape \(10, 6\)"):
        shift_attribute(pca, X, found.directions)
    with pytest.raises(ValueError, match="the 6 components of the latents, got 2"):
        shift_attribute(pca, X, [1.0, 2.0])
    with pytest.raises(ValueError, match="finite vector"):
        shift_attribute(pca, X, np.full(6, np.nan))
    for steps in ([], 1.0, [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="steps must be a sequence"):
            shift_attribute(pca, X, found, steps, label=1)


def test_directions_are_data():
    arrays = np.eye(2), None, np.ones(2), np.ones(2), np.zeros(2)
    found = AttributeDirection(*arrays)
    with pytest.raises(AttributeError):
        found.center = np.ones(2)
