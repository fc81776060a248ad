"""The trained parts of maps: one step by hand, units, spacings, landmarks, epochs."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional as F

from manifoldgen import DistilledManifold
from manifoldgen.manifold._parametric_program import (
    ParametricProgram,
    landmark_anchor,
    place_anchor,
)
from manifoldgen.manifold._trainer import (
    gap_of,
    n_epochs_of,
    set_map_units,
    spacing_of,
    spread_landmarks,
)
from manifoldgen.nn import MLP, LandmarkEncoder
from manifoldgen.nn.losses import infonce_loss, mean_distance, soft_cross_entropy

WEIGHTS = {"anchor_weight": 2.0, "neighbor_weight": 0.5}
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
PLACES = torch.randn(8, 2, generator=torch.Generator().manual_seed(2))


def program_of(share=0.3, landmarks=False, **options):
    generator = torch.Generator().manual_seed(0)
    encoder = MLP((3, 4, 6 if landmarks else 2), generator=generator)
    if landmarks:
        encoder = LandmarkEncoder(encoder, torch.tensor(spread_landmarks(6, 2)), 0.5)
    decoder = MLP((2, 4, 3), generator=generator)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    program = ParametricProgram(
        encoder,
        decoder,
        torch.optim.SGD(parameters, 0.1),
        F.mse_loss,
        reconstruction_weight=share,
        **WEIGHTS,
        **options,
    )
    return program, encoder, decoder


def test_the_terms_of_a_step_by_hand():
    program, encoder, decoder = program_of(
        anchor=place_anchor, neighborhood=infonce_loss, noise=0.5
    )
    encoder, decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
    found = program.step((X, PLACES), torch.Generator().manual_seed(3))
    noise = torch.empty(8, 3).normal_(generator=torch.Generator().manual_seed(3))
    z = encoder(X + 0.5 * noise)
    expected = {
        "anchor": 2.0 * mean_distance(z, PLACES),
        "neighborhood": 0.5 * infonce_loss(z[:4], z[4:]),
        "reconstruction": (decoder(z[:4]) - X[:4]).square().mean(),
    }
    expected["loss"] = torch.stack(list(expected.values())).sum()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name


def turned_and_shaken(x, generator):
    return -x + 0.1 * torch.rand(x.shape, generator=generator)


@pytest.mark.parametrize("changed_target", [False, True])
def test_rows_are_changed_before_the_noise_and_each_by_itself(changed_target):
    program, encoder, decoder = program_of(
        anchor=place_anchor,
        neighborhood=infonce_loss,
        noise=0.5,
        augment=turned_and_shaken,
        changed_target=changed_target,
    )
    encoder, decoder = copy.deepcopy(encoder), copy.deepcopy(decoder)
    found = program.step((X, PLACES), torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    changed = -X + 0.1 * torch.rand(8, 3, generator=generator)
    z = encoder(changed + 0.5 * torch.empty(8, 3).normal_(generator=generator))
    target = changed if changed_target else X
    expected = {
        "anchor": 2.0 * mean_distance(z, PLACES),
        "neighborhood": 0.5 * infonce_loss(z[:4], z[4:]),
        "reconstruction": (decoder(z[:4]) - target[:4]).square().mean(),
    }
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_the_gradient_that_reaches_the_encoder(share):
    program, encoder, decoder = program_of(share)
    one, other = copy.deepcopy(encoder), copy.deepcopy(decoder)
    program.step((X,), torch.Generator())
    (other(one(X)) - X).square().mean().backward()
    for ours, theirs in zip(encoder.parameters(), one.parameters(), strict=True):
        assert_allclose(ours.grad, share * theirs.grad, rtol=1e-5, atol=1e-8)
    for ours, theirs in zip(decoder.parameters(), other.parameters(), strict=True):
        assert_allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def test_landmarks_learn_by_cross_entropy_and_place():
    _, encoder, _ = program_of(landmarks=True)
    z, loss = landmark_anchor(encoder, X, PLACES)
    logits = encoder.network(X)
    assert torch.equal(z, encoder.place(logits))
    expected = soft_cross_entropy(logits, encoder.affinities(PLACES))
    assert loss.item() == pytest.approx(expected.item())


def test_rows_without_a_place_have_no_anchor():
    program, encoder, _ = program_of(0.0, anchor=place_anchor)
    places = torch.full_like(PLACES, float("nan"))
    found = program.step((X, places), torch.Generator())
    assert found["anchor"].item() == 0.0
    assert not any(p.grad.any() for p in encoder.parameters())


def test_a_decoder_alone_learns_from_given_places():
    decoder = MLP((2, 3))
    optimizer = torch.optim.SGD(decoder.parameters(), 0.1)
    program = ParametricProgram(
        None,
        decoder,
        optimizer,
        F.mse_loss,
        reconstruction_weight=0.0,
        augment=turned_and_shaken,
        changed_target=True,
        **WEIGHTS,
    )
    expected = (decoder(PLACES) - X).square().mean().item()
    found = program.step((X, PLACES), torch.Generator())
    assert set(found) == {"loss", "reconstruction"}
    assert found["loss"].item() == pytest.approx(expected)


def test_validation_is_of_clean_rows_in_parts_and_without_neighbours():
    program, encoder, decoder = program_of(
        anchor=place_anchor,
        neighborhood=infonce_loss,
        noise=9.0,
        augment=turned_and_shaken,
        changed_target=True,
    )
    rows, places = X.repeat(200, 1)[:1500], PLACES.repeat(200, 1)[:1500]
    with torch.no_grad():
        z = encoder(rows)
        expected = 2.0 * mean_distance(z, places) + F.mse_loss(decoder(z), rows)
        found = program.validate((rows, places))["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


# ------------------------------------------------------------------- how it is set up


def test_units_of_a_map_by_hand():
    manifold, Z = DistilledManifold(), np.array([[0.0, 10.0], [4.0, 10.0]])
    units = set_map_units(manifold, np.vstack([Z, [[np.nan, 1.0]]]))
    assert_allclose(manifold._latent_shift, [2.0, 10.0])
    assert manifold._latent_scale == pytest.approx(np.sqrt(2.0))
    assert_allclose(units[:2], [[-np.sqrt(2), 0.0], [np.sqrt(2), 0.0]], rtol=1e-6)
    assert np.isnan(units[2]).any()
    set_map_units(manifold, np.ones((3, 2)))
    assert manifold._latent_scale == 1.0


@pytest.mark.parametrize("n", [2, 3, 50, 256, 1000])
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_landmarks_are_spread_evenly(n, n_components):
    points = spread_landmarks(n, n_components).astype(float)
    assert points.shape == (n, n_components)
    assert_allclose(points.mean(axis=0), 0.0, atol=1e-5)
    assert np.sqrt(np.square(points).mean()) == pytest.approx(1.0, rel=1e-5)
    if n < 50:
        return
    apart = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    nearest = (apart + 1e9 * np.eye(n)).min(axis=1)
    # random points would have 0.05 and less here, and holes of several gaps
    assert nearest.min() > 0.25 * np.median(nearest)
    assert nearest.max() < 2.5 * np.median(nearest)
    assert_allclose(points.std(axis=0), 1.0, atol=0.15)
    assert gap_of(points) == pytest.approx(np.median(nearest))


def test_spacing_by_brute_force():
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((60, 3)).astype(np.float64) * [1.0, 5.0, 2.0]
    rows[10] = rows[11]  # a copy is at no distance and says nothing
    shift, scale = rows.mean(axis=0), np.full(3, 2.0)
    units = (rows - shift) / scale
    apart = np.linalg.norm(units[:, np.newaxis] - units, axis=2)
    nearest = (apart + 1e9 * np.eye(60)).min(axis=1)
    expected = np.median(nearest[nearest > 0]) / np.sqrt(3)
    found = spacing_of(rows, shift, scale, np.random.RandomState(0))
    assert found == pytest.approx(expected, rel=1e-5)


def test_spacing_of_equal_rows_is_none():
    rows = np.ones((5, 3))
    assert spacing_of(rows, rows[0], np.ones(3), np.random.RandomState(0)) == 0.0


@pytest.mark.parametrize(
    ("n_rows", "batch_size"), [(10, 256), (1500, 256), (70_000, 64)]
)
def test_epochs_that_are_not_given_make_steps_enough(n_rows, batch_size):
    n_batches = -(-n_rows // batch_size)
    n_epochs = n_epochs_of(None, n_rows, batch_size)
    enough = n_epochs_of(None, 1, 1)
    assert n_epochs >= 20
    assert n_epochs * n_batches >= enough
    assert n_epochs == 20 or (n_epochs - 1) * n_batches < enough
    assert n_epochs_of(7, n_rows, batch_size) == 7
