"""Structural similarity of pictures whose peak is 1; 1 is the same picture.

  SSIM = (2 m_x m_y + C1) (2 c_xy + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2))

with means m, variances v and covariance c under a Gaussian window, C1 = 0.01^2 and C2 = 0.03^2; the
mean over every place where the 11 x 11 window of sigma 1.5 fits inside the picture, over channels
and over pictures (Wang et al. 2004, "Image quality assessment", section III). Windows that reach
over the border are left out, as by the authors' own program; some libraries mirror the border.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types

_C1, _C2 = 0.01**2, 0.03**2

MEANING = {
    "ssim": "structural similarity of reconstruction and target",
    "ssim_input": "the same of what the model saw",
}


def of(
    x: jax.Array, y: jax.Array, grid: tuple[int, ...] | None, size: int = 11, sigma: float = 1.5
) -> jax.Array:
    """Returns the similarity of each pair of rows, `[batch]`.

    Args:
      x: `[batch, height * width * channels]`.
      y: as x.
      grid: `(height, width, channels)` of a row.
      size: width of the window, in pixels.
      sigma: of the window, in pixels.
    """
    if grid is None or len(grid) != 3 or min(grid[:2]) < size:
        raise errors.UserError(
            f"ssim needs pictures of {size} x {size} pixels or more, and examples here are "
            f"{'no pictures' if grid is None else grid}: leave it out, or set its size"
        )
    bell = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
    across, down = (_band(bell / bell.sum(), length) for length in (grid[1], grid[0]))

    def smooth(image: jax.Array) -> jax.Array:
        return jnp.einsum("iu,bijc,jv->buvc", down, image, across)

    x, y = (image.reshape(-1, *grid) for image in (x, y))
    mean_x, mean_y = smooth(x), smooth(y)
    var_x = smooth(x * x) - mean_x**2
    var_y = smooth(y * y) - mean_y**2
    both = smooth(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    return (similar / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean(axis=(1, 2, 3))


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    *,
    grid: tuple[int, ...] | None,
    size: int = 11,
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, and similarities of reconstructions and of inputs.

    Args:
      batch: input and target.
      output: its reconstruction is read.
      reference: not read.
      grid: what a target, reshaped, is.
      size: width of the window, in pixels.
    """
    del reference
    mask = types.mask(batch)
    found = {"n": mask.sum(), "ssim": (of(output.x_hat, batch.target, grid, size) * mask).sum()}
    if batch.y is not None and batch.y.shape == batch.x.shape:
        found["input"] = (of(batch.x, batch.y, grid, size) * mask).sum()
    return found


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `ssim`, and `ssim_input` where the input is not the target."""
    found = {"ssim": float(totals["ssim"] / totals["n"])}
    if "input" in totals:
        found["ssim_input"] = float(totals["input"] / totals["n"])
    return found


def _band(weights: np.ndarray, length: int) -> jax.Array:
    """Returns the matrix `[length, length - size + 1]` that slides `weights` along an axis."""
    places = length - len(weights) + 1
    band = np.zeros((length, places), np.float32)
    for place in range(places):
        band[place : place + len(weights), place] = weights
    return jnp.asarray(band)
