"""What is done to an example before a model sees it, by name; the model is to undo it.

Each function takes one example and returns what the model sees and what it is to reconstruct:
`(key, x, grid, *, knobs) -> (input, target)`. A target of None says: the example as it was. The
corruption processes are those of Vincent et al. 2010 (JMLR 11, section 3.4) but where another
source is named.
"""

from collections.abc import Callable
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import types

Grid = tuple[int, ...] | None
Pair = tuple[jax.Array, jax.Array | None]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """Applies a function of this file to a batch, each row with a key of its own.

    Attributes:
      of: the function, its knobs bound; None leaves a batch as it is.
      grid: what an example, reshaped, is.
    """

    of: Callable[[jax.Array, jax.Array, Grid], Pair] | None = None
    grid: Grid = None

    def __call__(self, keys: jax.Array, batch: types.Batch) -> types.Batch:
        """Returns the batch with `x` corrupted and `y` as what is to be reconstructed.

        Args:
          keys: typed PRNG keys `[batch]`.
          batch: `x` `[batch, d_in]`.
        """
        if self.of is None:
            return batch
        x, y = jax.vmap(lambda key, x: self.of(key, x, self.grid))(keys, batch.x)  # type: ignore[misc]
        return dataclasses.replace(batch, x=x, y=batch.target if y is None else y)


def masking(key: jax.Array, x: jax.Array, grid: Grid, *, share: float) -> Pair:
    """Sets each number to 0 with probability `share`."""
    del grid
    _check_share("masking", share)
    return jnp.where(jax.random.bernoulli(key, share, x.shape), 0.0, x), None


def salt_and_pepper(
    key: jax.Array, x: jax.Array, grid: Grid, *, share: float, low: float = 0.0, high: float = 1.0
) -> Pair:
    """Sets each number with probability `share` to `low` or `high`, either as likely."""
    del grid
    _check_share("salt_and_pepper", share)
    where, which = jax.random.split(key)
    extreme = jnp.where(jax.random.bernoulli(which, 0.5, x.shape), high, low)
    return jnp.where(jax.random.bernoulli(where, share, x.shape), extreme, x), None


def gaussian(key: jax.Array, x: jax.Array, grid: Grid, *, sigma: float) -> Pair:
    """Adds normal noise of standard deviation `sigma`, in units of the data; nothing is clipped."""
    del grid
    if sigma < 0:
        raise ValueError(f"gaussian: sigma={sigma}: it must be 0 or more")
    return x + sigma * jax.random.normal(key, x.shape), None


def blur(key: jax.Array, x: jax.Array, grid: Grid, *, sigma: float, noise: float = 0.0) -> Pair:
    """Convolves a picture with a Gaussian of `sigma` pixels, and adds normal noise after it.

    The Gaussian is cut at 3 sigma; the border's pixels go on outside. Without noise a linear map
    undoes nearly all of it.
    """
    height, width, channels = _picture("blur", grid)
    if sigma <= 0 or noise < 0:
        raise ValueError(f"blur: sigma={sigma}, noise={noise}: above 0, and 0 or more")
    radius = math.ceil(3 * sigma)
    bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = [float(weight) for weight in bell / bell.sum()]
    image = jnp.pad(
        x.reshape(height, width, channels), ((radius, radius), (radius, radius), (0, 0)), "edge"
    )
    image = jnp.stack([w * image[i : i + height] for i, w in enumerate(kernel)]).sum(axis=0)
    image = jnp.stack([w * image[:, i : i + width] for i, w in enumerate(kernel)]).sum(axis=0)
    return image.reshape(x.shape) + noise * jax.random.normal(key, x.shape), None


def patch(key: jax.Array, x: jax.Array, grid: Grid, *, size: int) -> Pair:
    """Sets a square of `size` pixels, anywhere in a picture, to 0: inpainting."""
    height, width, channels = _picture("patch", grid)
    if not 0 < size <= min(height, width):
        raise ValueError(f"patch: size={size} does not fit pictures of {height} x {width}")
    corners = jnp.asarray([height - size + 1, width - size + 1])
    top, left = jax.random.randint(key, (2,), 0, corners)
    row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    inside = (row >= top) & (row < top + size) & (column >= left) & (column < left + size)
    inside = jnp.broadcast_to(inside, (height, width, channels)).reshape(x.shape)
    return jnp.where(inside, 0.0, x), None


def binarise(key: jax.Array, x: jax.Array, grid: Grid) -> Pair:
    """Draws each number from a Bernoulli of that mean, for input and target alike.

    Anew at each step: the dynamic binarisation of Burda et al. 2015 (arXiv:1509.00519).
    """
    del grid
    drawn = jax.random.bernoulli(key, x, x.shape).astype(x.dtype)
    return drawn, drawn


def _picture(name: str, grid: Grid) -> tuple[int, int, int]:
    if grid is None or len(grid) != 3:
        raise ValueError(f"{name} needs pictures: examples of this data set have no height, width")
    return grid[0], grid[1], grid[2]


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: share={share}: it must be from 0 to 1")
