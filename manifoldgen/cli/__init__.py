"""The command line: ``python -m manifoldgen demo`` runs the main job and shows it."""

import sys
from collections.abc import Sequence

from ._arguments import make_parser, read_split, widths_for, writable_folder

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    status : int
        0, or 2 where the user has to change something, which one line on standard
        error says.

    Examples
    --------
    >>> main(["demo", "--data", "nowhere.csv"])
    2
    """
    args = make_parser().parse_args(argv)
    from ..base import resolve_device  # torch, which --help does not wait for

    try:
        resolve_device(args.device)
        split = read_split(args)
        widths = widths_for(args.n_components, split.X_train)
        out = writable_folder(args.out)
    except (OSError, ValueError, ImportError) as error:
        return _complain(error)
    from ._demo import run_demo

    try:
        run_demo(split, widths, out, args)
    except OSError as error:
        return _complain(error)
    return 0


def _complain(error: Exception) -> int:
    print(f"manifoldgen: error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2
