import numpy as np
import pytest

from manifoldgen.report import corrupted_rows, detection_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_corrupted_images_keep_their_range_and_pixels(rng):
    X = rng.integers(0, 17, size=(40, 30)).astype(np.float32)
    corrupted = corrupted_rows(X, image=True, random_state=0)
    assert list(corrupted) == ["noise", "shuffled", "inverted"]
    np.testing.assert_array_equal(corrupted["inverted"], 16 - X)
    np.testing.assert_array_equal(np.sort(corrupted["shuffled"]), np.sort(X))
    assert np.all((corrupted["shuffled"] != X).any(axis=1))
    assert (corrupted["noise"].min(), corrupted["noise"].max()) == (0.0, 16.0)
    inner = (X > 4) & (X < 12)
    spread = (corrupted["noise"] - X)[inner].std()
    # 0.25 of a range of 16, over some 500 values and hardly clipped.
    assert spread == pytest.approx(4.0, rel=0.15)


def test_corrupted_columns_keep_what_they_hold(rng):
    X = rng.normal(size=(2000, 3)) * [1.0, 10.0, 0.0]
    corrupted = corrupted_rows(X, noise=0.5, random_state=0)
    shuffled = corrupted["shuffled"]
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
    low, high = X.min(axis=0), X.max(axis=0)
    np.testing.assert_allclose(corrupted["inverted"].min(axis=0), low, atol=1e-12)
    np.testing.assert_allclose(corrupted["inverted"].max(axis=0), high, atol=1e-12)
    spread = (corrupted["noise"] - X).std(axis=0)
    np.testing.assert_allclose(spread, [0.5, 5.0, 0.0], rtol=0.06)


def test_corruption_is_decided_by_the_seed(rng):
    X = rng.normal(size=(5, 4))
    first, again, other = (corrupted_rows(X, random_state=k) for k in (1, 1, 2))
    np.testing.assert_array_equal(first["noise"], again["noise"])
    np.testing.assert_array_equal(first["shuffled"], again["shuffled"])
    assert not np.array_equal(first["noise"], other["noise"])


class _FirstColumn:
    def score_samples(self, X):
        return X[:, 0]


def test_detection_report_is_the_share_of_ordered_pairs():
    normal = np.array([[3.0], [2.0], [1.0]])
    abnormal = {"mixed": np.array([[2.5], [1.0]]), "low": np.array([[0.0]])}
    report = detection_report({"column": _FirstColumn()}, normal, abnormal)
    # Pairs (normal, abnormal): of 3 x 2, two are in order and one is a tie.
    pairs = [[1.0 * (n > a) + 0.5 * (n == a) for a in (2.5, 1)] for n in (3, 2, 1)]
    assert report == {"column": {"mixed": pytest.approx(np.mean(pairs)), "low": 1.0}}
