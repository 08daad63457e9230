"""How strongly codes react to their input: the Frobenius norm of the encoder's Jacobian.

`||J||_F = sqrt(sum_ij (d codes_i / d x_j)^2)` of each example, at what the model is given, in units
of codes over units of the data; its mean over the split, and the mean of its square. (What Rifai et
al. 2011 print in Table 1 is the mean norm in a unit that they do not state: compare ratios.)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import jacobian

MEANING = {
    "jacobian": "Frobenius norm of d codes / d x, mean over examples",
    "jacobian_squared": "its square, mean over examples",
}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    *,
    model: types.Bound,
    samples: int = 0,
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, norms and squared norms.

    Args:
      batch: its input is read.
      output: its codes' shape is read.
      reference: not read.
      model: what encodes.
      samples: 0: exact, from min(d_in, d_sae) passes, seconds for a thousand pictures. Else so many
        samples of the estimate `||J^T v||^2`, the same v for every example: the mean of the squares
        is unbiased; the norm, a root of an estimate, comes out too small, by up to 1 / (4 samples).
    """
    del reference
    mask = types.mask(batch)
    if samples:
        shape = (samples, output.codes.shape[-1])
        signs = jax.random.rademacher(jax.random.key(0), shape, output.codes.dtype)
        squared = jacobian.estimate(model.encode, batch.x, signs)
    else:
        squared = jacobian.squared_norm(model.encode, batch.x)
    return {
        "n": mask.sum(),
        "norm": (jnp.sqrt(squared) * mask).sum(),
        "squared": (squared * mask).sum(),
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `jacobian`, the mean norm, and `jacobian_squared`, the mean squared norm."""
    return {
        "jacobian": float(totals["norm"] / totals["n"]),
        "jacobian_squared": float(totals["squared"] / totals["n"]),
    }
