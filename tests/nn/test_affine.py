"""Fixed layers around networks, by hand."""

import torch
from torch import nn

from manifoldgen.nn.affine import Affine, Clamp, Columns, InDtypeOf


def test_affine_maps_by_scale_and_by_matrix():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    shift = torch.tensor([1.0, 1.0], dtype=torch.float64)
    scaled = Affine(shift, torch.tensor([2.0, 3.0]).double())(x)
    assert scaled.tolist() == [[0.0, 3.0], [4.0, 9.0]]
    matrix = torch.tensor([[1.0], [10.0]]).double()
    turned = Affine(shift, matrix, torch.tensor([0.5]).double())(x)
    assert turned.tolist() == [[10.5], [32.5]]


def test_affine_keeps_the_digits_of_data_with_a_large_mean():
    shift = torch.tensor([1e9], dtype=torch.float64)
    x = shift + torch.tensor([[0.25]], dtype=torch.float64)
    assert Affine(shift, torch.ones(1).double())(x).item() == 0.25


def test_rows_come_in_the_dtype_of_the_weights():
    layer = InDtypeOf(nn.Linear(2, 1))
    assert layer(torch.ones(3, 2, dtype=torch.float64)).dtype == torch.float32
    assert InDtypeOf(nn.Identity())(torch.ones(3).double()).dtype == torch.float64


def test_columns_and_interval():
    x = torch.tensor([[-1.0, 0.5, 3.0]])
    assert Columns(2)(x).tolist() == [[-1.0, 0.5]]
    assert Clamp(0.0, 1.0)(x).tolist() == [[0.0, 0.5, 1.0]]
