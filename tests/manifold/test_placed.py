"""Maps whose rows have coordinates of their own: placing, the way back, odd data."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from manifoldgen import TSNEManifold, UMAPManifold
from manifoldgen.manifold._parts import check_labels

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:The graph of neighbours falls into"),
    pytest.mark.filterwarnings("ignore:.*too large for the"),
    pytest.mark.filterwarnings("ignore:.*too few for a map"),
    pytest.mark.filterwarnings("ignore:All rows of X are equal"),
]

TINY = {"hidden_sizes": (8,), "max_epochs": 2, "random_state": 0}
TSNE = TSNEManifold(early_exaggeration_iter=20, n_iter=30, perplexity=8, **TINY)
UMAP = UMAPManifold(n_epochs=20, n_neighbors=8, **TINY)
KINDS = pytest.mark.parametrize("kind", [TSNE, UMAP], ids=["t-sne", "umap"])
PLACEMENTS = pytest.mark.parametrize("placement", ["neighbors", "network"])


def twice(output, target):
    return 2 * (output - target).square().mean()


@pytest.fixture
def rows(digits):
    return digits[0][:200]


@KINDS
def test_a_new_row_is_at_the_median_of_the_nearest_training_rows(kind, digits):
    known, new = digits[0][:300], digits[0][300:340] + 0.25
    manifold = clone(kind).set_params(n_placement_neighbors=7).fit(known)
    for row, place in zip(new, manifold.transform(new), strict=True):
        nearest = np.argsort(((known - row) ** 2).sum(axis=1), kind="stable")[:7]
        expected = np.median(manifold.embedding_[nearest], axis=0)
        assert_allclose(place, expected, rtol=1e-6, atol=1e-6)


@KINDS
def test_a_training_row_is_at_its_own_coordinates(kind, rows):
    manifold = clone(kind).fit(rows)
    assert_array_equal(manifold.transform(rows[::-1]), manifold.embedding_[::-1])
    # also where another row is copied many times
    copied = np.concatenate([rows, np.repeat(rows[:1], 30, axis=0)])
    manifold = clone(kind).fit(copied)
    assert_array_equal(manifold.transform(copied), manifold.embedding_)
    assert_array_equal(manifold.embedding_[200:], manifold.embedding_[[0] * 30])


@KINDS
def test_placing_by_cosine_and_in_other_units(kind, rows):
    new = rows + 0.25
    manifold = clone(kind).set_params(metric="cosine").fit(rows)
    assert_array_equal(manifold.transform(rows), manifold.embedding_)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = np.argsort(-(new @ unit.T), axis=1)[:, :15]
    expected = np.median(manifold.embedding_[nearest], axis=1)
    assert_allclose(manifold.transform(new), expected, rtol=1e-5, atol=1e-5)
    one, other = clone(kind).fit(rows), clone(kind).fit(1024 * rows)
    assert_array_equal(one.transform(new), other.transform(1024 * new))


@KINDS
def test_another_placement_leaves_no_network_and_no_row_behind(kind, rows):
    manifold = clone(kind).set_params(placement="network").fit(rows)
    assert manifold._index is None
    assert manifold._placed is None
    embedding, by_network = manifold.embedding_, manifold.transform(rows)
    assert_array_equal(clone(manifold).fit_transform(rows), by_network)
    manifold.set_params(placement="neighbors").fit(rows)
    assert not hasattr(manifold, "encoder_")
    assert manifold._landmarks is None
    assert_array_equal(manifold.embedding_, embedding)
    assert_array_equal(manifold.transform(rows), embedding)
    manifold.set_params(placement="network").fit(rows)
    assert manifold._index is None
    assert_array_equal(manifold.transform(rows), by_network)


@KINDS
def test_placement_set_after_fit_waits_for_the_next(kind, rows):
    manifold = clone(kind).fit(rows).set_params(placement="network")
    assert_array_equal(manifold.transform(rows), manifold.embedding_)


@KINDS
@PLACEMENTS
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_few_rows_have_finite_places(kind, placement, n, digits):
    manifold = clone(kind).set_params(placement=placement).fit(digits[0][:n])
    Z = manifold.transform(digits[0][:40])
    assert Z.shape == (40, 2)
    assert np.isfinite(Z).all()
    assert np.isfinite(manifold.inverse_transform(Z)).all()
    assert np.ptp(manifold.embedding_, axis=0).max() > 0


@KINDS
@PLACEMENTS
def test_equal_rows_have_one_place_and_come_back(kind, placement):
    rows = np.tile([3.0, -1.0, 7.0], (40, 1))
    manifold = clone(kind).set_params(placement=placement, max_epochs=300)
    with pytest.warns(UserWarning, match="All rows of X are equal"):
        manifold.fit(rows)
    assert_array_equal(manifold.embedding_, np.zeros((40, 2)))
    assert np.isfinite(manifold.transform(rows)).all()
    assert_allclose(manifold.inverse_transform(np.zeros((1, 2))), rows[:1], atol=0.01)


@KINDS
def test_blobs_that_nothing_joins_are_marked(kind):
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((90, 3))
    rows[60:] += 1000
    with pytest.warns(UserWarning, match="falls into 2 parts.* 30 of 90"):
        manifold = clone(kind).fit(rows)
    assert_array_equal(manifold.isolated_, np.arange(90) >= 60)
    assert np.isfinite(manifold.transform(rows)).all()


@KINDS
@PLACEMENTS
def test_terms_of_the_history(kind, placement, rows):
    manifold = clone(kind).set_params(placement=placement, neighbor_weight=0.5)
    row = manifold.fit(rows).history_.rows[-1]
    terms = {"reconstruction"}
    if placement == "network":
        terms |= {"anchor", "neighborhood"}
    assert terms == set(row) & {"anchor", "neighborhood", "reconstruction"}
    assert row["loss"] == pytest.approx(sum(row[term] for term in terms), rel=1e-5)


@KINDS
def test_the_decoder_does_not_move_the_encoder_unless_asked(kind, rows):
    def encoder_of(**settings):
        manifold = clone(kind).set_params(placement="network", **settings).fit(rows)
        return torch.cat([p.ravel() for p in manifold.encoder_.parameters()])

    # networks of the user's see other units, so both have one
    shared = {"n_landmarks": 0, "decoder": torch.nn.Linear}
    assert torch.equal(encoder_of(**shared), encoder_of(**shared, loss=twice))
    shared["reconstruction_weight"] = 1.0
    assert not torch.equal(encoder_of(**shared), encoder_of(**shared, loss=twice))


def test_the_coordinates_are_those_of_the_function(rows):
    from manifoldgen._random import draw_seed
    from manifoldgen.manifold._tsne_coordinates import tsne_coordinates

    rng = np.random.RandomState(draw_seed(np.random.RandomState(0)))
    expected, _ = tsne_coordinates(
        rows,
        perplexity=8,
        early_exaggeration_iter=20,
        n_iter=30,
        random_state=np.random.RandomState(draw_seed(rng)),
    )
    assert_array_equal(clone(TSNE).fit(rows).embedding_, expected)


@KINDS
def test_nothing_of_the_libraries_warns_or_prints(kind, rows, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(kind).fit(rows[:60]).transform(rows)
    assert capfd.readouterr() == ("", "")


@KINDS
def test_a_killed_fit_resumes_with_the_same_result(kind, rows, tmp_path):
    settings = {"placement": "network", "max_epochs": 6, "checkpoint": tmp_path}
    straight = clone(kind).set_params(**settings | {"checkpoint": None}).fit(rows)

    def kill(row):
        if row["epoch"] == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        clone(kind).set_params(**settings, callbacks=[kill]).fit(rows)
    again = clone(kind).set_params(**settings).fit(rows)
    assert_array_equal(again.transform(rows), straight.transform(rows))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metric", ["cosine", "correlation", "manhattan"])
def test_a_training_row_keeps_its_place_by_any_metric(metric, digits):
    X = digits[0][:40].astype(float)
    X = np.concatenate([X, 2 * X[:5]])  # equal by angle, and rows of their own
    manifold = clone(TSNE).set_params(metric=metric)
    Z = manifold.fit_transform(X)
    assert_array_equal(manifold.transform(X), Z)
    assert_array_equal(manifold.transform(X[41:42]), Z[41:42])


def test_a_checkpoint_makes_umap_come_out_the_same_without_a_seed(digits, tmp_path):
    X = digits[0][:80]
    manifold = clone(UMAP).set_params(random_state=None, checkpoint=tmp_path)
    maps = [clone(manifold).fit(X).embedding_ for _ in range(2)]
    assert_array_equal(maps[0], maps[1])


def test_labels_of_mixed_kinds_know_the_unknown():
    for y in (
        np.array([0, 1, -1], dtype=object),
        np.array(["a", "b", "-1"]),
        np.array([0.0, 1.0, -1.0]),
    ):
        found = check_labels(y, 3)
        assert found[2] == -1
        assert found[0] >= 0
        assert found[1] >= 0
        assert found[0] != found[1]
