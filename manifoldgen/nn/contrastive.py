"""Losses of two views of the same rows, and geometric transformations of images."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class VicregTerms(NamedTuple):
    """The three terms of VICReg, without their weights.

    Attributes
    ----------
    invariance : Tensor
        Mean squared difference of the two views.
    variance : Tensor
        What the standard deviations of columns lack of 1, for both views.
    covariance : Tensor
        Squares of the covariances of different columns over the width, for both.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_terms(first: Tensor, second: Tensor) -> VicregTerms:
    r"""Return how far two views of rows differ, and how far columns collapse.

    .. math:: s = \frac{1}{n d} \sum_{ij} (z_{ij} - z'_{ij})^2,\quad
              v = \sum_{z, z'} \frac{1}{d} \sum_j \max(0, 1 - \sqrt{\mathrm{var}_j
              + 10^{-4}}),\quad
              c = \sum_{z, z'} \frac{1}{d} \sum_{j \neq k} \mathrm{cov}_{jk}^2

    Parameters
    ----------
    first, second : Tensor of shape (n, d)
        Two views of n rows, 2 at least.

    Returns
    -------
    terms : VicregTerms

    References
    ----------
    .. [1] A. Bardes, J. Ponce, Y. LeCun, "VICReg: variance-invariance-covariance
       regularization for self-supervised learning", ICLR 2022, arXiv:2105.04906,
       Eqs. (1) to (5). Our invariance is a mean over columns too, as in their program,
       which the weights 25, 25 and 1 belong to.

    Examples
    --------
    >>> import torch
    >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> terms = vicreg_terms(rows, rows)
    >>> [round(float(term), 2) for term in terms]
    [0.0, 0.99, 0.0]
    """
    invariance = F.mse_loss(first, second)
    variance = covariance = first.new_zeros(())
    for rows in (first, second):
        centred = rows - rows.mean(0)
        products = centred.T @ centred / (len(rows) - 1)
        squares = products.diagonal()
        variance = variance + F.relu(1.0 - (squares + 1e-4).sqrt()).mean()
        others = products.square().sum() - squares.square().sum()
        covariance = covariance + others / rows.shape[1]
    return VicregTerms(invariance, variance, covariance)


def nt_xent_loss(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Return how hard it is to tell a row's other view from all other views, in nats.

    .. math:: -\mathrm{mean}\,\log \frac{\exp(\cos(z_i, z'_i) / \tau)}
              {\sum_{k \neq i} \exp(\cos(z_i, z_k) / \tau)}

    over all 2 n views i, where k runs over the 2 n - 1 others.

    Parameters
    ----------
    first, second : Tensor of shape (n, d)
        Two views of n rows.
    temperature : float, default=0.5
        Above 0.

    Returns
    -------
    loss : Tensor
        A scalar.

    References
    ----------
    .. [1] T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for
       contrastive learning of visual representations", ICML 2020, arXiv:2002.05709,
       Eq. (1).

    Examples
    --------
    >>> import torch
    >>> rows = torch.eye(2)
    >>> round(float(nt_xent_loss(rows, rows, temperature=1.0)), 4)  # log(1 + 2 / e)
    0.5514
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    n = len(first)
    other = torch.arange(2 * n, device=views.device).roll(n)
    return F.cross_entropy(similarity, other)
