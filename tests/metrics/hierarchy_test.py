"""Parents that are recalled with and without their children, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.metrics import hierarchy


class World:
    spec = base.Spec("world", "test", (4,))
    features = np.eye(4, dtype=np.float32)
    parents = np.asarray([2, -1, -1, 2])


class Flat:
    spec = base.Spec("flat", "test", (4,))
    features = np.eye(4, dtype=np.float32)
    parents = None


# Latent 1 stands for feature 2, the parent of features 0 and 3.
W_DEC = np.asarray([[1, 0, 0.9, 0], [0, 0.1, -1, 0], [0, 0, 0, 1]], np.float32)
TRUTH = np.asarray(
    [
        [1, 0, 1, 0],
        [1, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 0],
        [0, 1, 1, 0],
        [0, 1, 0, 0],
        [1, 1, 1, 1],
    ]
)
CODES = np.asarray(
    [[1, 0, 0], [1, -2, 1], [0, 0, 1], [0, 3, 0], [0, 0, 0], [0, 1, 0], [9, 9, 9]]
)  # fmt: skip
MASK = np.asarray([1.0, 1, 1, 1, 1, 1, 0])


def test_recall_with_children_and_without():
    prepared = hierarchy.prepare({"w_dec": W_DEC}, World)
    np.testing.assert_array_equal(prepared["child"], [0, 3])
    np.testing.assert_array_equal(prepared["latent"], [1])
    codes = jnp.asarray(CODES, jnp.float32)
    batch = types.Batch(
        x=jnp.zeros((7, 4)),
        mask=jnp.asarray(MASK, jnp.float32),
        truth=jnp.asarray(TRUTH, jnp.float32),
    )
    output = types.Output(x_hat=batch.x, codes=codes, pre=codes)
    totals = hierarchy.sums(batch, output, jnp.zeros(4), prepared)
    found = hierarchy.finish({name: np.asarray(total) for name, total in totals.items()})
    # Feature 0 is active in examples 0 and 1, feature 3 in 1 and 2; the parent alone in 3 and 4.
    assert found["parent_recall"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found["parent_recall_alone"] == pytest.approx(1 / 2)


def test_data_without_parents_are_refused():
    with pytest.raises(errors.UserError, match="whose features have parents: flat has none"):
        hierarchy.prepare({"w_dec": W_DEC}, Flat)
