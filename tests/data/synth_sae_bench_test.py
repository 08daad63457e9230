"""The world of SynthSAEBench: its known numbers, in small by default, at full size if asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base, synth_sae_bench

SMALL = dict(n_features=1024, d_in=96, roots=16, depth=2)
LEVELS = (slice(0, 16), slice(16, 80), slice(80, 336))


@pytest.fixture(scope="module")
def data():
    return synth_sae_bench.load("test", **SMALL)


def _examples(data, count):
    raw = {name: jnp.asarray(rows) for name, rows in data.rows(np.arange(count)).items()}
    return jax.device_get(jax.jit(data.decode)(raw))


@pytest.fixture(scope="module")
def batch(data):
    return _examples(data, 20_000)


def test_probabilities_fall_as_a_power_from_the_one_bound_to_the_other():
    found = synth_sae_bench.probabilities(16_384)
    assert found[[0, -1]] == pytest.approx([0.4, 5e-4])
    # Affine in i^-1/2: 1, 1/2, 1/4 at the places 1, 4, 16.
    assert (found[0] - found[3]) / (found[3] - found[15]) == pytest.approx(2.0)


def test_features_have_norm_one_and_are_as_far_apart_as_they_can_be(data):
    features = data.features
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    cosines = np.abs(features @ features.T) - np.eye(len(features))
    assert cosines.max(axis=1).mean() == pytest.approx(0.33, abs=0.01)
    # No rows can have less than n^2 / d - n (Welch 1974); random ones have n^2 / d, 10 % more.
    assert (cosines**2).sum() < 1.01 * (1024**2 / 96 - 1024)
    assert np.linalg.norm(data.bias) == pytest.approx(0.5)


def test_examples_are_made_of_features_and_bias(data, batch):
    np.testing.assert_allclose(batch.x, batch.truth @ data.features + data.bias, atol=1e-3)


def test_a_child_is_on_only_with_its_parent_and_without_its_siblings(batch):
    on = batch.truth > 0
    for above, level in zip(LEVELS, LEVELS[1:], strict=False):
        families = on[:, level].reshape(len(on), -1, 4)
        assert families.sum(axis=2).max() == 1
        assert not (families.any(axis=2) & ~on[:, above]).any()


def test_features_fire_as_often_as_asked_but_for_crowded_families(batch):
    rates = (batch.truth > 0).mean(axis=0)
    asked = synth_sae_bench.probabilities(1024)
    free = np.r_[0:16, 336:1024]
    error = np.abs(rates - asked) / np.sqrt(asked * (1 - asked) / len(batch.truth))
    assert error[free].max() < 5
    # Siblings that would fill their parent's time cannot: each parent has room for one.
    room = asked[:16].repeat(4) > 4 * asked[16:80]
    np.testing.assert_allclose(rates[16:80][room], asked[16:80][room], rtol=0.35)
    assert rates[16:336].sum() < 0.75 * asked[16:336].sum()
    assert (batch.truth > 0).sum(axis=1).mean() == pytest.approx(10.0, abs=0.15)


def test_codes_are_normal_and_scaled_by_the_parents(data, batch):
    known = data.draw.keywords
    for i in (0, 400, 700):
        codes = batch.truth[batch.truth[:, i] > 0, i]
        within = 5 * known["spread"][i] / np.sqrt(len(codes))
        assert codes.mean() == pytest.approx(known["mean"][i], abs=within)
        assert codes.std() == pytest.approx(known["spread"][i], rel=0.3)
    child = batch.truth[:, 16] > 0
    of_parent = batch.truth[child, 0] / known["mean"][0]
    own = batch.truth[child, 16] / of_parent
    assert own.mean() == pytest.approx(known["mean"][16], rel=0.05)
    assert abs(np.corrcoef(own, of_parent)[0, 1]) < 0.15


def test_correlated_features_fire_together(batch):
    """Of pairs of no tree those with F_i . F_j most above 0 are most often together."""
    factor = _factor()
    on = (batch.truth[:, 336:600] > 0).astype(float)
    found = np.corrcoef(on.T)[np.triu_indices(264, 1)]
    wanted = (factor[336:600] @ factor[336:600].T)[np.triu_indices(264, 1)]
    assert wanted.std() == pytest.approx(0.05, rel=0.1)
    assert np.corrcoef(found, wanted)[0, 1] > 0.2


def _factor():
    known = synth_sae_bench.load("test", **SMALL).draw.keywords["together"]
    own = 1 / np.sqrt(1 + (known.weight**2).sum(axis=1, keepdims=True))
    return known.weight * own


def test_an_example_is_the_same_in_every_batch_and_every_part(data, batch):
    part = synth_sae_bench.load("test[100:200]", **SMALL)
    assert part.length == 100
    np.testing.assert_allclose(base.first(part, 3).x, batch.x[100:103], atol=1e-4)
    alone = jax.jit(data.at)(jax.tree.map(jnp.asarray, data.source), jnp.asarray([101, 7]))
    np.testing.assert_allclose(alone.x, batch.x[[101, 7]], atol=1e-4)
    other = base.first(synth_sae_bench.load("train", **SMALL), 3)
    assert np.abs(other.x - batch.x[:3]).max() > 0.1
    assert data.fingerprint() == synth_sae_bench.load("test", **SMALL).fingerprint()
    assert data.fingerprint() != synth_sae_bench.load("test", seed=1, **SMALL).fingerprint()


def test_what_cannot_be_is_named():
    for wrong, message in (
        (dict(n_features=300), "336 features: n_features=300 are too few"),
        (dict(branching=0), "branching=0"),
        (dict(rank=0), "rank=0"),
    ):
        with pytest.raises(errors.DataError, match=message):
            synth_sae_bench.load("test", **{**SMALL, **wrong})
    with pytest.raises(errors.DataError, match="train, valid, test"):
        synth_sae_bench.load("dev", **SMALL)


@pytest.mark.slow
def test_at_full_size_it_has_the_published_numbers():
    """A minute of two cores where the features are not in the cache; published: 34 and 0.15."""
    data = synth_sae_bench.load("test")
    forest = data.draw.keywords["forest"]
    assert forest.size == 10_880
    on = _examples(data, 2048).truth > 0
    assert on.sum(axis=1).mean() == pytest.approx(34, abs=1.5)
    assert on[:, :4096].sum(axis=1).mean() == pytest.approx(25, abs=1.5)
    cosines = np.abs(data.features[:2048] @ data.features.T)
    cosines[np.arange(2048), np.arange(2048)] = 0
    assert cosines.max(axis=1).mean() == pytest.approx(0.15, abs=0.01)
