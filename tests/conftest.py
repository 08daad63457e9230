"""The test session is stricter than a user's: four devices, no silent broadcasting.

What the tests themselves compile runs once or twice on few numbers, so XLA is told to compile fast
rather than well: the suite takes a third of the time. Programs that tests start are compiled as a
user's are.
"""

from collections.abc import Callable
import os

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")

import jax
import pytest

from tests import programs

FLAGS = os.environ.get("XLA_FLAGS", "")

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["XLA_FLAGS"] = f"{FLAGS} {programs.QUICK}"
jax.devices()  # XLA reads its flags now; programs that tests start get them as they were.
os.environ["XLA_FLAGS"] = FLAGS


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def program() -> Callable:
    """Runs `python -m <module> <arguments>` to its end; see tests/programs.py."""
    return programs.run
