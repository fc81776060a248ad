"""Pairs of rows ranked by products on a torch device."""

import numpy as np
import torch
from numpy.typing import NDArray

_PAIRS = 2**26  # in one block: 256 MB of float32
_SPARE = 16  # pairs taken beyond the k-th, among which rounding may hide a nearer one


class Ranking:
    """Products of rows on a device, whose largest are picked there.

    Parameters
    ----------
    products : ndarray of shape (n_rows, n_columns), float32
        Right factors, one row each.
    device : str
        A torch device.
    """

    def __init__(self, products: NDArray[np.float32], device: str) -> None:
        self._right = torch.from_numpy(products).to(device)
        self.n_queries = max(1, _PAIRS // len(products))
        self.rounding = self._find_rounding()

    def _find_rounding(self) -> float:
        """Return the rounding error of factors, which TF32 and bfloat16 cut short."""
        just_above_one = 1 + 2.0**-13
        probe = torch.full((256, 256), just_above_one, device=self._right.device)
        whole = bool((probe @ torch.eye(256, device=probe.device) == probe).all())
        return 2.0**-24 if whole else 2.0**-8

    def candidates(
        self, left: NDArray[np.float32], error: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Return pairs of left and right rows, all of the k largest among them.

        None stands for errors that may hide one beyond the spare pairs.
        """
        factor = torch.from_numpy(left).to(self._right.device)
        n_taken = min(k + _SPARE, len(self._right))
        top = torch.topk(factor @ self._right.T, n_taken, dim=1)
        values = top.values.cpu().numpy().astype(np.float64)
        least = values[:, [k - 1]] - 2 * error[:, np.newaxis]
        if n_taken < len(self._right) and (values[:, -1:] >= least).any():
            return None
        i, at = np.nonzero(values >= least)
        return i, top.indices.cpu().numpy()[i, at]
