"""What is left of the variance against how many latents are active: the sparsity frontier.

A lower line reconstructs better at the same L0. That alone makes no dictionary the better one:
below the true L0, wrong dictionaries reconstruct better than the true one (arXiv 2508.16560).
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import comparisons

SIZE = (5.6, 3.8)


def draw(series: Sequence[comparisons.Series], figure: Figure) -> None:
    """Draws FVU against L0."""
    axis = figure.subplots()
    comparisons.plot(axis, series, "fvu", "FVU, variance unexplained")
    axis.set_yscale("log")
    axis.legend(frameon=False, fontsize=8)
