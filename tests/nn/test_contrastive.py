"""Losses of two views against loops and figures done by hand."""

import numpy as np
import pytest
import torch

from manifoldgen.nn.contrastive import nt_xent_loss, vicreg_terms

RNG = np.random.RandomState(0)
FIRST, SECOND = RNG.standard_normal((2, 7, 4)) * [1.0, 0.3, 0.1, 2.0]


def test_vicreg_by_loops():
    terms = vicreg_terms(torch.from_numpy(FIRST), torch.from_numpy(SECOND))
    variance = covariance = 0.0
    for rows in (FIRST, SECOND):
        products = np.cov(rows.T)
        for j in range(4):
            variance += max(0.0, 1.0 - np.sqrt(products[j, j] + 1e-4)) / 4
            for k in range(4):
                covariance += products[j, k] ** 2 / 4 if j != k else 0.0
    invariance = np.mean((FIRST - SECOND) ** 2)
    np.testing.assert_allclose(terms, [invariance, variance, covariance], rtol=1e-10)


def test_vicreg_of_rows_that_are_spread_alike_and_independent_is_0():
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    np.testing.assert_allclose(vicreg_terms(corners, corners), [0.0, 0.0, 0.0])
    collapsed = vicreg_terms(torch.zeros(4, 2), torch.zeros(4, 2))
    np.testing.assert_allclose(collapsed, [0.0, 2 * 0.99, 0.0], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_by_loops(temperature):
    rows = np.concatenate([FIRST, SECOND])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    n, loss = len(FIRST), 0.0
    for i in range(2 * n):
        others = [k for k in range(2 * n) if k != i]
        odds = {k: np.exp(rows[i] @ rows[k] / temperature) for k in others}
        loss -= np.log(odds[(i + n) % (2 * n)] / sum(odds.values())) / (2 * n)
    found = nt_xent_loss(torch.from_numpy(FIRST), torch.from_numpy(SECOND), temperature)
    np.testing.assert_allclose(found.item(), loss, rtol=1e-10)


def test_slopes_are_finite_where_views_agree_and_where_all_is_0():
    for rows in (torch.eye(3), torch.zeros(3, 3)):
        first, second = (rows.clone().requires_grad_() for _ in range(2))
        loss = (
            nt_xent_loss(first, second) + torch.stack(vicreg_terms(first, second)).sum()
        )
        loss.backward()
        assert torch.isfinite(first.grad).all()
        assert torch.isfinite(second.grad).all()
