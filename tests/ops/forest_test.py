"""Trees of features against the same trees drawn feature by feature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from sae_jax.ops import forest

FOREST = forest.Forest(roots=2, branching=3, depth=2)
N = 28  # Two of no tree.
CHANCES = np.concatenate([[0.5, 0.9], np.linspace(0.8, 0.3, 6), np.linspace(0.9, 0.1, 20)])
MEAN, SPREAD = np.linspace(5, 4, N), np.linspace(0.1, 2.0, N)


def _drawn(rows):
    """Codes from the file under test, `[rows, 26]`."""
    given = [jnp.asarray(v, jnp.float32) for v in (special.ndtri(CHANCES), MEAN, SPREAD)]
    keys = jax.random.split(jax.random.key(0), rows)
    return np.asarray(jax.jit(jax.vmap(lambda key: forest.draw(key, FOREST, *given)))(keys))


def _by_hand(rows):
    """Every feature drawn, then silenced where its parent is, then where a sibling is chosen."""
    rng = np.random.RandomState(1)
    codes = np.maximum(MEAN + SPREAD * rng.randn(rows, N), 0) * (rng.rand(rows, N) < CHANCES)
    children = {0: (2, 3, 4), 1: (5, 6, 7)}
    children |= {p: tuple(range(8 + 3 * (p - 2), 11 + 3 * (p - 2))) for p in range(2, 8)}
    for parent, below in children.items():
        codes[:, below] *= (codes[:, parent] / MEAN[parent])[:, None]
        luck = np.where(codes[:, below] > 0, rng.rand(rows, 3), -1)
        codes[:, below] *= luck == luck.max(axis=1, keepdims=True)
    return codes[:, :26]


@pytest.fixture(scope="module")
def drawn():
    return _drawn(100_000)


def test_levels_follow_each_other():
    assert FOREST.levels == [slice(0, 2), slice(2, 8), slice(8, 26)]
    assert FOREST.size == 26
    assert forest.Forest(128, 4, 3).size == 10_880
    assert forest.Forest(0, 4, 3).size == 0


def test_codes_are_distributed_as_if_every_feature_were_drawn(drawn):
    wanted = _by_hand(100_000)
    np.testing.assert_allclose((drawn > 0).mean(axis=0), (wanted > 0).mean(axis=0), atol=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), wanted.mean(axis=0), atol=0.05)
    # What deviations are of, a child's include its parent's: the whole second moment.
    np.testing.assert_allclose((drawn**2).mean(axis=0), (wanted**2).mean(axis=0), rtol=0.1)
    found, asked = (((c > 0).T.astype(float) @ (c > 0)) / len(c) for c in (drawn, wanted))
    np.testing.assert_allclose(found, asked, atol=0.01)


def test_a_child_is_active_only_with_its_parent_and_without_its_siblings(drawn):
    on = drawn > 0
    for above, level in zip(FOREST.levels, FOREST.levels[1:], strict=False):
        families = on[:, level].reshape(len(on), -1, 3)
        assert families.sum(axis=2).max() == 1
        assert not (families.any(axis=2) & ~on[:, above]).any()


def test_compensation_gives_back_what_parents_and_siblings_take():
    asked = np.concatenate([[0.4, 0.3], np.full(6, 0.02), np.full(18, 0.0005), [0.3, 0.1]])
    found = forest.compensated(FOREST, asked)
    np.testing.assert_array_equal(found[[0, 1, 26, 27]], asked[[0, 1, 26, 27]])
    assert found[2] == pytest.approx(0.02 / 0.4 * (1 + 0.04 / 0.4))
    assert found[8] == pytest.approx(0.0005 / 0.02 * (1 + 0.001 / 0.02))
    # Of three alike one is chosen: c (1 - c + c^2 / 3) of a parent's time.
    for parent, child in ((0, 2), (1, 5), (2, 8)):
        c = found[child]
        assert asked[parent] * c * (1 - c + c**2 / 3) == pytest.approx(asked[child], rel=0.05)
    crowded = forest.compensated(FOREST, np.full(26, 0.3))
    assert crowded.max() == 1.0


def test_a_forest_that_does_not_grow_is_refused():
    with pytest.raises(ValueError, match="branching=0"):
        forest.Forest(2, 0, 1)
