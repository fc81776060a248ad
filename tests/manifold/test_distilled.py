"""Any reducer as a manifold: what it is given, what the encoder makes of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap, SpectralEmbedding
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifoldgen import DistilledManifold

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

TINY = {"hidden_sizes": (8,), "max_epochs": 2, "random_state": 0}


class Watched(BaseEstimator):
    """Returns the first columns, and remembers what it was given."""

    seen: list = []  # noqa: RUF012

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X, y=None):
        Watched.seen.append((X.copy(), y, self.random_state))
        return X[:, :2]


@pytest.fixture
def seen():
    Watched.seen.clear()
    return Watched.seen


def test_a_linear_map_is_learned_to_a_few_percent(digits):
    X = digits[0]
    manifold = DistilledManifold(random_state=0, max_epochs=150).fit(X[:400])
    expected = PCA(2).fit(X[:400])
    signs = np.sign((expected.transform(X[:400]) * manifold.embedding_).sum(axis=0))
    assert_allclose(manifold.embedding_, signs * expected.transform(X[:400]), atol=1e-3)
    target = signs * expected.transform(X[400:])
    error = np.square(manifold.transform(X[400:]) - target).sum()
    assert error / np.square(target - target.mean(axis=0)).sum() < 0.05
    assert manifold.distillation_score_ > 0.95


def test_the_reducer_gets_a_sample_of_the_rows_without_labels(digits, seen):
    X, y = digits
    manifold = DistilledManifold(Watched(), max_reducer_samples=120, **TINY).fit(X, y)
    ((given, labels, _),) = seen
    assert labels is None
    assert len(np.unique(manifold.reduced_indices_)) == 120
    assert (np.diff(manifold.reduced_indices_) > 0).all()
    assert_array_equal(given, X[manifold.reduced_indices_])
    assert_array_equal(manifold.embedding_, given[:, :2])
    assert manifold.transform(X).shape == (500, 2)


def test_the_reducer_gets_all_rows_in_order_where_they_are_few(digits, seen):
    DistilledManifold(Watched(), **TINY).fit(digits[0])
    assert_array_equal(seen[0][0], digits[0])


def test_images_of_bytes_are_fractions_to_the_reducer(digits, seen):
    images = (digits[0][:60] * 15).astype(np.uint8).reshape(-1, 8, 8)
    DistilledManifold(Watched(), **TINY).fit(images)
    assert_array_equal(seen[0][0], images.reshape(60, 64).astype("f4") / 255)


def test_seeds_are_passed_on_where_none_is_set(digits, seen):
    X = digits[0][:50]
    for random_state in (0, 0, 1):
        settings = {**TINY, "random_state": random_state}
        DistilledManifold(Watched(), **settings).fit(X)
    first, again, other = (call[2] for call in seen)
    assert first == again != other
    DistilledManifold(Watched(random_state=7), **TINY).fit(X)
    assert seen[-1][2] == 7
    pipe = make_pipeline(StandardScaler(), Watched())
    DistilledManifold(pipe, **TINY).fit(X)
    assert isinstance(seen[-1][2], int)


def test_the_reducer_given_is_not_changed(digits):
    reducer = Isomap(n_neighbors=8)
    before = dict(vars(reducer))
    DistilledManifold(reducer, **TINY).fit(digits[0][:100])
    assert vars(reducer) == before


@pytest.mark.parametrize("n_reduced", [500, 200])
def test_distillation_score_by_hand(digits, n_reduced):
    X = digits[0]
    settings = {**TINY, "max_epochs": 30, "validation_fraction": 0.2}
    manifold = DistilledManifold(max_reducer_samples=n_reduced, **settings)
    held = []
    split = manifold._split

    def watched(n, rng):
        kept, out = split(n, rng)
        held.extend(out)
        return kept, out

    manifold._split = watched
    manifold.fit(X)
    assert len(held) == 100
    places = dict(zip(manifold.reduced_indices_, manifold.embedding_, strict=True))
    rows = [row for row in held if row in places]
    assert (len(rows) == 100) == (n_reduced == 500)
    target = np.array([places[row] for row in rows], dtype=float)
    error = np.square(manifold.transform(X[rows]) - target).sum()
    expected = 1 - error / np.square(target - target.mean(axis=0)).sum()
    assert manifold.distillation_score_ == pytest.approx(expected, rel=1e-6)


def test_no_score_without_held_out_rows(digits):
    manifold = DistilledManifold(validation_fraction=0.0, **TINY).fit(digits[0])
    assert np.isnan(manifold.distillation_score_)


def test_the_width_is_the_reducers(digits):
    manifold = DistilledManifold(PCA(5), **TINY).fit(digits[0])
    assert manifold.n_components_ == 5
    assert manifold.transform(digits[0]).shape == (500, 5)
    manifold.set_params(reducer=SpectralEmbedding(1)).fit(digits[0])
    assert manifold.transform(digits[0]).shape == (500, 1)
    one_column = DistilledManifold(**TINY).fit(digits[0][:, 20:21])
    assert one_column.n_components_ == 1


@pytest.mark.parametrize("n_landmarks", [0, 256])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_few_rows(n, n_landmarks, digits):
    manifold = DistilledManifold(n_landmarks=n_landmarks, **TINY).fit(digits[0][:n])
    Z = manifold.transform(digits[0])
    assert np.isfinite(Z).all()
    assert np.isfinite(manifold.inverse_transform(Z)).all()


def test_landmarks_are_at_most_one_for_four_distinct_places(digits):
    X = np.repeat(digits[0][:40], 3, axis=0)
    manifold = DistilledManifold(n_landmarks=256, **TINY).fit(X)
    assert len(manifold._landmarks) == 10
    again = clone(manifold).set_params(n_landmarks=0).fit(X)
    assert again._landmarks is None


def test_rows_without_a_place_teach_the_decoder_alone(digits):
    """With 2 of 500 rows reduced, the encoder learns nothing of the others."""
    manifold = DistilledManifold(max_reducer_samples=2, batch_size=20, **TINY)
    manifold.fit(digits[0])
    assert np.isfinite(manifold.history_["anchor"]).all()
    assert np.isfinite(manifold.transform(digits[0])).all()


class RandomDirections(BaseEstimator):
    """Draws from the global generator, as code without a random_state does."""

    def fit_transform(self, X, y=None):
        return X @ np.random.normal(size=(X.shape[1], 2))  # noqa: NPY002


def test_a_reducer_without_a_seed_is_reproducible_and_leaves_the_stream(digits):
    X = digits[0][:60]
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    maps = [
        DistilledManifold(RandomDirections(), **TINY).fit(X).embedding_
        for _ in range(2)
    ]
    assert_array_equal(maps[0], maps[1])
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
