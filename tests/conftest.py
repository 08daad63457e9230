"""The test session is stricter than a user's: four devices, no silent broadcasting.

What the tests themselves compile runs once or twice on few numbers, so XLA is told to compile fast
rather than well: the suite takes a third of the time. What one process has compiled the others
read, for as long as the session lasts. Programs that tests start are compiled as a user's are.
"""

import atexit
from collections.abc import Callable
import gc
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # Workers are given that of who started them.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="sae_jax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

from tests import programs

FLAGS = os.environ.get("XLA_FLAGS", "")

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
os.environ["XLA_FLAGS"] = f"{FLAGS} {programs.QUICK}"
jax.devices()  # XLA reads its flags now; programs that tests start get them as they were.
os.environ["XLA_FLAGS"] = FLAGS


def pytest_collection_finish() -> None:
    """Looks for garbage seldom, and never in what was imported: jax's caches are large."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def program() -> Callable:
    """Runs `python -m <module> <arguments>` to its end; see tests/programs.py."""
    return programs.run
