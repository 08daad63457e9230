"""A hash of whole numbers, the same for NumPy and JAX."""

from typing import Any

import numpy as np


def mix(x: Any) -> Any:
    """Returns numbers whose bits look random, another one for each number; 0 stays 0.

    The finaliser of MurmurHash3 (Appleby 2011): each bit of x moves about half of the bits.

    Args:
      x: uint32 `[...]`, NumPy or JAX.
    """
    with np.errstate(over="ignore"):  # Products wrap; of single numbers NumPy would warn.
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x85EBCA6B)
        x = x ^ (x >> np.uint32(13))
        x = x * np.uint32(0xC2B2AE35)
        return x ^ (x >> np.uint32(16))
