"""Exclusive latents, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.metrics import exclusive


class World:
    spec = base.Spec("world", "test", (4,), (2, 2))
    # Shared, weak at the second site, and one exclusive to each site.
    features = np.asarray([[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 0, 2]], np.float32)


# Shares of the second site: 1/4, 1/11, 1, 1/2; the last is dead.
W_DEC = np.asarray(
    [[3, 0, 1, 0], [2, 0, 0.2, 0], [0, 0, 0, -1], [0.1, 1, 0.1, 1], [0, 5, 0, 0]], np.float32
)
CODES = np.asarray([[1, 0, 2, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]], np.float32)
MASK = np.asarray([1, 1, 0], np.float32)


def _found(w_dec=W_DEC, world=World):
    prepared = exclusive.prepare({"w_dec": w_dec}, world)
    batch = types.Batch(x=jnp.zeros((3, 4)), mask=jnp.asarray(MASK))
    codes = jnp.asarray(CODES)
    totals = exclusive.sums(batch, types.Output(batch.x, codes, codes), jnp.zeros(4), prepared)
    return exclusive.finish({name: np.asarray(total) for name, total in totals.items()})


def test_shares_are_of_the_sum_of_norms():
    found = exclusive.shares(W_DEC, (2, 2))[:, 1]
    np.testing.assert_allclose(found, [1 / 4, 0.2 / 2.2, 1, 0.5, 0], rtol=1e-6)
    assert np.isnan(exclusive.shares(np.zeros((1, 4)), (2, 2))).all()


def test_an_exclusive_latent_of_a_shared_feature_is_spurious():
    found = _found()
    assert found["exclusive"] == 2 / 4  # Latents 1 and 2, of the four that are active.
    assert found["shared"] == 1 / 4
    assert found["spurious"] == 1 / 2  # Latent 1 stands for feature 0.
    assert found["exclusive_found"] == 0  # The latent of feature 1 is dead, that of 2 opposite.


def test_an_exclusive_feature_is_found_by_a_latent_of_its_site():
    assert _found(W_DEC * np.asarray([1, 1, -1, 1, 1])[:, None])["exclusive_found"] == 1 / 2


def test_without_known_features_only_shares_are_told():
    class Activations:
        spec = World.spec

    assert _found(world=Activations).keys() == {"exclusive", "shared"}


def test_data_without_sites_are_refused():
    class Pixels:
        spec = base.Spec("pixels", "test", (4,))

    with pytest.raises(errors.UserError, match="several sites"):
        exclusive.prepare({"w_dec": W_DEC}, Pixels)
