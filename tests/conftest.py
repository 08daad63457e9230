"""The test session is stricter than a user's: four devices, no silent broadcasting."""

import os
from pathlib import Path
import sys

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")

import jax
import pytest

ROOT = Path(__file__).resolve().parent.parent

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
sys.path.insert(0, str(ROOT))


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key."""
    return jax.random.key(0)
