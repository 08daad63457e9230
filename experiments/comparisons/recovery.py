"""How well known features are found, and what can be seen without knowing them, against L0.

MCC is the mean |cosine| of latents and features matched one to one; c_dec, the mean |cosine| of two
decoder rows, is least near the true L0 where features are nearly orthogonal (arXiv 2508.16560).
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import comparisons

SIZE = (8.4, 3.4)


def draw(series: Sequence[comparisons.Series], figure: Figure) -> None:
    """Draws MCC and c_dec against L0, side by side."""
    left, right = figure.subplots(1, 2)
    comparisons.plot(left, series, "mcc", "MCC")
    comparisons.plot(right, series, "c_dec", "c_dec")
    left.legend(frameon=False, fontsize=8)
