"""How numbers are kept: in full, in half, or in 8 bits with a scale for each row.

  int8   scale = max_j |x_j| / 127,   value_j = round(x_j / scale),   x_j ~ value_j scale

so that a number is off by at most scale / 2. bfloat16 keeps 8 bits of the mantissa and all sizes,
float16 keeps 11 and nothing above 65,504.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

DTYPES = ("float32", "bfloat16", "float16", "int8")
SCALE = "/scale"  # Behind the name of the rows that it is of.


def encode(x: Float[Array, "rows d"], dtype: str) -> dict[str, jax.Array]:
    """Returns `{"": [rows, d]}` and, of int8, `{"/scale": float32 [rows]}`."""
    if dtype != "int8":
        return {"": x.astype(dtype)}
    scale = jnp.abs(x).max(axis=1).astype(jnp.float32) / 127
    values = jnp.round(x / jnp.where(scale > 0, scale, 1.0)[:, None])
    return {"": values.astype(jnp.int8), SCALE: scale}


def decode(values: Any, scale: Any = None) -> Any:
    """Returns float32 `[rows, d]`, of NumPy arrays on the host and of JAX arrays on the device."""
    x = values.astype(np.float32)
    return x if scale is None else x * scale[:, None]


def row_bytes(width: int, dtype: str) -> int:
    """Returns what a row of `width` numbers takes on disk."""
    size = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}[dtype]
    return width * size + (4 if dtype == "int8" else 0)
