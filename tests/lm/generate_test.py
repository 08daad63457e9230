"""What is written with a cache is what is written without one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import edit, generate

PROMPTS = np.random.RandomState(2).randint(3, 40, (2, 6)).astype(np.int32)
NEW = 8


def _padded(left):
    """Prompts of 6 and 3 tokens."""
    ids, mask = PROMPTS.copy(), np.ones((2, 6), bool)
    tokens, padding = (slice(3, 6), slice(0, 3)) if left else (slice(0, 3), slice(3, 6))
    ids[1, tokens], ids[1, padding], mask[1, padding] = PROMPTS[1, :3], 0, False
    return ids, mask


def _without_cache(model, ids, mask, temperature=0.0, edits=None, eos=1):
    key = jax.random.key(3)
    return generate.recomputed(
        model, ids, mask, jnp.asarray(temperature), key, edits or {}, NEW, jnp.asarray(eos)
    )


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_with_and_without_cache_the_same_is_written(model, left, temperature):
    ids, mask = _padded(left)
    edits = {
        "resid_post.1": edit.add(np.linspace(-1, 1, 16), 2.0, at=slice(4, None)),
        "mlp_hidden.2": edit.scale(0.5),
    }
    found = generate.generate(model, ids, mask, NEW, temperature, seed=3, edits=edits)
    assert found.shape == (2, NEW)
    np.testing.assert_array_equal(found, _without_cache(model, ids, mask, temperature, edits))


def test_greedy_takes_the_likeliest_and_padding_does_not_matter(model):
    found = generate.generate(model, *_padded(True), new=NEW)
    np.testing.assert_array_equal(found, generate.generate(model, *_padded(False), new=NEW))
    row = np.concatenate([PROMPTS[:1], found[:1]], axis=1)
    likeliest = model.run(row).logits[0].argmax(-1)
    np.testing.assert_array_equal(found[0], likeliest[5:-1])


def test_an_edit_changes_what_is_written(model):
    plain = generate.generate(model, PROMPTS, new=NEW)
    edits = {"resid_post.3": edit.add(100 * model.params["unembed"][:, 7])}
    assert (generate.generate(model, PROMPTS, new=NEW, edits=edits) == 7).all()
    assert not (plain == 7).all()


def test_after_the_end_there_is_only_the_end(model):
    plain = generate.generate(model, PROMPTS, new=NEW)
    end = int(plain[0, 2])
    tokenizer = dataclasses.replace(model.tokenizer, eos=end)
    ending = dataclasses.replace(model, tokenizer=tokenizer)
    found = generate.generate(ending, PROMPTS, new=NEW)
    first = int((plain[0] == end).argmax())
    np.testing.assert_array_equal(found[0, :first], plain[0, :first])
    assert (found[0, first:] == end).all()
    mask = np.ones_like(PROMPTS, bool)
    np.testing.assert_array_equal(found, _without_cache(ending, PROMPTS, mask, eos=end))


def test_temperature_draws_from_the_softmax():
    logits = jnp.log(jnp.asarray([[0.1, 0.2, 0.3, 0.4]]).repeat(20_000, 0)) * 2
    token, _ = generate.pick(
        logits, jnp.asarray(2.0), jax.random.key(0), 0, np.zeros(20_000, bool), jnp.asarray(-1)
    )
    np.testing.assert_allclose(np.bincount(token) / 20_000, [0.1, 0.2, 0.3, 0.4], atol=0.015)


def test_bad_input_is_refused_in_one_line(model):
    with pytest.raises(errors.UserError, match="6 tokens and 27 new: tiny holds 32"):
        generate.generate(model, PROMPTS, new=27)
    with pytest.raises(errors.UserError, match="temperature=-1"):
        generate.generate(model, PROMPTS, new=NEW, temperature=-1.0)
    with pytest.raises(errors.UserError, match="a prompt is empty"):
        generate.generate(model, PROMPTS, np.arange(12).reshape(2, 6) < 6, new=NEW)
    with pytest.raises(errors.UserError, match="is no site of tiny"):
        generate.generate(model, PROMPTS, edits={"resid": edit.ablate()})
