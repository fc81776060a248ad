"""Losses by hand, by brute force and by resampling."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from manifoldgen.nn.losses import (
    RECONSTRUCTION,
    RECONSTRUCTION_NAMES,
    binary_cross_entropy,
    energy_distance,
    hinge_loss,
    huber_loss,
    infonce_loss,
    mean_absolute_error,
    mean_distance,
    mean_squared_error,
    negative_sampling_loss,
    relativistic_loss,
    soft_cross_entropy,
    structural_dissimilarity,
    structural_similarity,
)


def test_mean_squared_error_by_hand():
    output, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 2)
    assert float(mean_squared_error(output, target)) == pytest.approx(30 / 4)


def test_cross_entropy_of_logits_by_hand():
    logits, target = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.25, 1.0]])
    # sigmoid(log 3) = 3/4
    expected = (math.log(2.0) - math.log(0.75)) / 2
    assert float(binary_cross_entropy(logits, target)) == pytest.approx(expected)


def test_mean_absolute_error_by_hand():
    output, target = torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.ones(2, 2)
    assert float(mean_absolute_error(output, target)) == pytest.approx(8 / 4)


def test_huber_loss_by_hand():
    output, target = torch.tensor([[0.5, -3.0, 1.0]]), torch.zeros(1, 3)
    assert float(huber_loss(output, target)) == pytest.approx((0.125 + 2.5 + 0.5) / 3)


def images_of(*shape, seed=0, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(4, *shape, dtype=dtype, generator=generator)
    noise = torch.randn(4, *shape, dtype=dtype, generator=generator)
    return (target + 0.2 * noise).clamp(0, 1), target


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 11)])
@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_structural_similarity_is_that_of_torchmetrics(shape, data_range):
    output, target = (data_range * images for images in images_of(*shape))
    expected = structural_similarity_index_measure(
        output, target, data_range=data_range, reduction="none"
    )
    found = structural_similarity(output, target, data_range=data_range)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def similarity_by_loops(x, y):
    """Return the mean over windows of one channel, as Wang et al. write it."""
    sizes = [min(11, side - (side + 1) % 2) for side in x.shape]
    halves = [size // 2 for size in sizes]
    x, y = (np.pad(it, [(half, half) for half in halves], "reflect") for it in (x, y))
    lines = [np.exp(-(np.arange(-half, half + 1) ** 2) / 4.5) for half in halves]
    window = np.outer(*lines) / np.outer(*lines).sum()
    found = []
    for i in range(x.shape[0] - sizes[0] + 1):
        for j in range(x.shape[1] - sizes[1] + 1):
            a, b = (it[i : i + sizes[0], j : j + sizes[1]] for it in (x, y))
            m, n = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - m) ** 2).sum(), (window * (b - n) ** 2).sum()
            both = (window * (a - m) * (b - n)).sum()
            luminance = (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)
            found.append(luminance * (2 * both + 9e-4) / (va + vb + 9e-4))
    return np.mean(found)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 3, 13), (1, 12, 4)])
def test_structural_similarity_of_small_images_by_loops(shape):
    output, target = images_of(*shape)
    expected = [
        np.mean([similarity_by_loops(*pair) for pair in zip(*both, strict=True)])
        for both in zip(output.numpy(), target.numpy(), strict=True)
    ]
    found = structural_similarity(output, target)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_structural_similarity_of_constant_images_by_hand():
    target = torch.full((2, 1, 9, 9), 0.75, dtype=torch.double)
    # no structure, so luminance alone is left
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    found = structural_similarity(target / 3, target)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_structural_dissimilarity_has_the_slope_of_differences():
    output, target = (it.flatten(1).requires_grad_() for it in images_of(2, 6, 5))
    assert torch.autograd.gradcheck(
        lambda x, y: structural_dissimilarity(x, y, (2, 6, 5)), (output, target)
    )


def test_every_pixel_counts_in_the_dissimilarity():
    output, target = (it.flatten(1) for it in images_of(1, 20, 20))
    output.requires_grad_()
    structural_dissimilarity(output, target, (1, 20, 20)).backward()
    size = output.grad.abs().mean(0)
    assert size.min() > 0.1 * size.mean()


def test_half_precision_of_the_networks_leaves_the_similarity_whole():
    output, target = images_of(1, 16, 16, dtype=torch.float32)
    expected = structural_similarity(output.bfloat16(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = structural_similarity(output.bfloat16(), target)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_names_of_reconstruction_losses():
    assert RECONSTRUCTION == {
        "mse": mean_squared_error,
        "bce": binary_cross_entropy,
        "l1": mean_absolute_error,
        "huber": huber_loss,
    }
    assert RECONSTRUCTION_NAMES == ("mse", "bce", "l1", "huber", "ssim")


def test_relativistic_loss_by_hand():
    better, worse = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert float(relativistic_loss(better, worse)) == pytest.approx(expected, rel=1e-6)
    assert float(relativistic_loss(better, better)) == pytest.approx(math.log(2))
    # no overflow where a naive formula has one
    far = relativistic_loss(torch.tensor([-1000.0]), torch.tensor([0.0]))
    assert float(far) == pytest.approx(1000.0)


def test_hinge_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.25])
    expected = (0.0 + 0.5 + 2.0) / 3 + (0.0 + 1.25) / 2
    assert float(hinge_loss(real, fake)) == pytest.approx(expected)
    # outside the margin nothing is left to gain
    real.requires_grad_(True)
    (slope,) = torch.autograd.grad(hinge_loss(real, fake), real)
    torch.testing.assert_close(slope, torch.tensor([0.0, -1 / 3, -1 / 3]))


def brute_force(x, y):
    def mean_distance(a, b, same):
        return np.mean(
            [
                np.linalg.norm(p - q)
                for i, p in enumerate(a)
                for j, q in enumerate(b)
                if not (same and i == j)
            ]
        )

    return (
        2 * mean_distance(x, y, False)
        - mean_distance(x, x, True)
        - mean_distance(y, y, True)
    )


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 3), (30, 41)])
def test_energy_distance_by_brute_force(n, m):
    rng = np.random.RandomState(0)
    x, y = rng.standard_normal((n, 3)), 0.5 + rng.standard_normal((m, 3))
    found, _ = energy_distance(torch.tensor(x), torch.tensor(y))
    assert float(found) == pytest.approx(brute_force(x, y), rel=1e-6, abs=1e-6)


def test_energy_distance_of_three_points():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [3.0]])
    # 2 * mean(3, 3, 1, 1) - 2 - 0
    found, error = energy_distance(x, y)
    assert float(found) == pytest.approx(2.0)
    # mean distances to y: 3, 1; to the other x: 2, 2; so 2 * sd(1, -1) / sqrt(2)
    assert float(error) == pytest.approx(2 / math.sqrt(2))


def test_energy_distance_is_unbiased():
    # of one law it is 0 in the mean, and so below 0 about as often as above
    rng = np.random.RandomState(0)
    draws = np.array(
        [
            float(energy_distance(*torch.tensor(rng.standard_normal((2, 40, 2))))[0])
            for _ in range(400)
        ]
    )
    assert abs(draws.mean()) < 4 * draws.std() / math.sqrt(len(draws))
    assert (draws < 0).any()


def test_the_standard_error_is_that_of_the_bootstrap():
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.standard_normal((200, 2)))
    y = torch.tensor(1.0 + 1.5 * rng.standard_normal((300, 2)))
    _, error = energy_distance(x, y)
    # over new draws of x from the law that it came from, y fixed
    draws = [
        float(energy_distance(torch.tensor(rng.standard_normal((200, 2))), y)[0])
        for _ in range(400)
    ]
    # the spread of 400 draws is known to 1 / sqrt(800) = 3.5 %; 3 sigma and the
    # error's own error
    assert float(error) == pytest.approx(np.std(draws), rel=0.2)


def test_energy_distance_of_single_rows_is_finite():
    found, error = energy_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    assert (float(found), float(error)) == (10.0, 0.0)


def pairs_of(n=6, n_components=3, scale=1.0):
    rng = np.random.RandomState(n)
    return scale * rng.standard_normal((2, n, n_components))


def slope(loss, heads, tails, step=1e-6):
    """Return central differences of a loss by each coordinate of the heads."""
    grid = np.zeros_like(heads)
    for at in np.ndindex(heads.shape):
        moved = heads.copy(), heads.copy()
        moved[0][at] += step
        moved[1][at] -= step
        grid[at] = (loss(moved[0], tails) - loss(moved[1], tails)) / (2 * step)
    return grid


def by_torch(loss, heads, tails):
    """Return the value and the gradient by the heads, which torch finds."""
    x, y = torch.tensor(heads, requires_grad=True), torch.tensor(tails)
    value = loss(x, y)
    value.backward()
    return float(value.detach()), x.grad.numpy()


def infonce_by_loops(heads, tails):
    every = np.concatenate([heads, tails])
    terms = []
    for i in range(len(heads)):
        q = [1 / (1 + ((heads[i] - other) ** 2).sum()) for other in every]
        others = sum(q[j] for j in range(len(every)) if j != i)
        terms.append(-math.log(q[len(heads) + i] / others))
    return np.mean(terms)


def negative_sampling_by_loops(heads, tails, a, b, n_negatives):
    every = np.concatenate([heads, tails])

    def spread(one, other):
        return a * ((one - other) ** 2).sum() ** b

    near = [
        -math.log(1 / (1 + spread(*pair))) for pair in zip(heads, tails, strict=True)
    ]
    # 1e-3 is what the docstring adds
    far = [
        -math.log(1 - 1 / (1 + spread(heads[i], every[j]) + 1e-3))
        for i in range(len(heads))
        for j in range(len(every))
        if j != i
    ]
    return np.mean(near) + n_negatives * np.mean(far)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_infonce_by_loops(n, scale):
    heads, tails = pairs_of(n, scale=scale)
    value, gradient = by_torch(infonce_loss, heads, tails)
    assert value == pytest.approx(infonce_by_loops(heads, tails), rel=1e-9, abs=1e-9)
    expected = slope(infonce_by_loops, heads, tails)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(1.577, 0.895), (1.0, 1.0), (0.5, 0.6)])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_negative_sampling_by_loops(n, a, b):
    heads, tails = pairs_of(n)
    settings = {"a": a, "b": b, "n_negatives": 5.0}

    def by_loops(heads, tails):
        return negative_sampling_by_loops(heads, tails, **settings)

    value, gradient = by_torch(
        lambda x, y: negative_sampling_loss(x, y, **settings), heads, tails
    )
    assert value == pytest.approx(by_loops(heads, tails), rel=1e-6)
    expected = slope(by_loops, heads, tails)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("b", [0.6, 1.0, 1.3])
def test_losses_of_rows_at_one_place_have_finite_slopes(b):
    heads = torch.zeros(4, 2, requires_grad=True)
    tails = torch.zeros(4, 2)
    loss = negative_sampling_loss(heads, tails, 1.5, b, 5.0) + infonce_loss(
        heads, tails
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(heads.grad).all()


def test_mean_distance_by_hand():
    output = torch.tensor([[3.0, 4.0], [1.0, 1.0], [9.0, 9.0]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0], [1.0, 1.0], [float("nan"), 0.0]])
    value = mean_distance(output, target)
    expected = (math.sqrt(25 + 1e-4) - 1e-2) / 2
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    # the slope of a distance is a unit vector, shared by two known rows
    np.testing.assert_allclose(output.grad[0], [0.3, 0.4], rtol=1e-5)
    np.testing.assert_array_equal(output.grad[1:], 0.0)


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 1.0]], requires_grad=True)
    target = torch.tensor([[0.5, 0.5], [float("nan"), float("nan")]])
    value = soft_cross_entropy(logits, target)
    expected = -(math.log(0.25) + math.log(0.75)) / 2
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    # softmax minus target
    np.testing.assert_allclose(logits.grad[0], [-0.25, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(logits.grad[1], 0.0)


@pytest.mark.parametrize("loss", [mean_distance, soft_cross_entropy])
def test_where_nothing_is_known_nothing_is_lost(loss):
    output = torch.ones(3, 2, requires_grad=True)
    value = loss(output, torch.full((3, 2), float("nan")))
    value.backward()
    assert value.item() == 0.0
    np.testing.assert_array_equal(output.grad, 0.0)
