import jax.numpy as jnp
import numpy as np
import pytest

from experiments.explorer import opened, steering
from sae_jax import errors
from sae_jax.lm import generate
from sae_jax.train import evaluate

SITE = "resid_post.1"
TEXT = "The Queen of Hearts had all on a summer day"


@pytest.fixture(scope="module")
def run(run_on_tokens):
    return opened.load(run_on_tokens, "test")


def _seen(run, edits):
    """The activation of a text at the site, before edits and after, without the first token."""
    ids, mask = run.model.batch([TEXT])
    captured = [run.model.run(ids, mask, (SITE,), found).captured[SITE] for found in ({}, edits)]
    before, after = (np.asarray(a[0], np.float64) for a in captured)
    np.testing.assert_array_equal(before[0], after[0])
    return before[1:], after[1:]


def _row(run, latent):
    scale = float(run.state.normaliser["scale"])
    return np.asarray(run.state.params["w_dec"], np.float64)[latent] / scale


def _codes(run, x):
    """Plain TopK: the four largest pre-activations that are above 0."""
    params = {name: np.asarray(value, np.float64) for name, value in run.state.params.items()}
    scaled = (x - np.asarray(run.state.normaliser["mean"])) * float(run.state.normaliser["scale"])
    pre = (scaled - params["b_dec"]) @ params["w_enc"] + params["b_enc"]
    return np.where(pre >= np.sort(pre, axis=1)[:, -4:-3], np.maximum(pre, 0), 0)


def test_a_latent_is_added_in_units_of_its_maximum_or_of_its_row(run):
    codes, _ = evaluate.Evaluator(run.task.method, run.task.mesh).encoded(run.state, run.data)
    most = codes.max(axis=0)
    assert steering.largest(run, 5) == pytest.approx(most[5], rel=1e-5)
    for unit, size in (("max", most[5]), ("row", 1.0)):
        edits, said = steering.changed(run, 5, "add", 3.0, unit)
        before, after = _seen(run, edits)
        wanted = np.broadcast_to(3 * size * _row(run, 5), before.shape)
        np.testing.assert_allclose(after - before, wanted, rtol=1e-4, atol=1e-4)
        assert said.startswith("latent 5 added, 3 times its ")


@pytest.mark.parametrize(("how", "strength", "factor"), [("scale", 2.5, 2.5), ("ablate", 9.0, 0.0)])
def test_the_part_of_a_latent_is_scaled_and_the_rest_stays(run, how, strength, factor):
    before, _ = _seen(run, {})
    codes = _codes(run, before)
    latent = int(np.argmax((codes > 0).sum(axis=0)))
    edits, said = steering.changed(run, latent, how, strength)
    assert ("ablated" if how == "ablate" else "scaled by 2.5") in said
    before, after = _seen(run, edits)
    wanted = (factor - 1) * codes[:, latent, None] * _row(run, latent)
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(after - before, wanted, rtol=1e-3, atol=1e-4)


def test_to_scale_by_one_changes_nothing_and_to_add_much_changes_the_text(run):
    ids, mask = run.model.batch([TEXT])
    plain = generate.generate(run.model, ids, mask, 12)
    same, _ = steering.changed(run, 3, "scale", 1.0)
    np.testing.assert_array_equal(generate.generate(run.model, ids, mask, 12, edits=same), plain)
    much, _ = steering.changed(run, 3, "add", 10.0)
    assert (generate.generate(run.model, ids, mask, 12, edits=much) != plain).any()


def test_what_cannot_be_is_refused(run, monkeypatch):
    with pytest.raises(errors.UserError, match="latent 96: there are latents from 0 to 95"):
        steering.changed(run, 96, "add", 1.0)
    monkeypatch.setattr(opened.Opened, "encoder", lambda self: lambda i: jnp.zeros((len(i), 96)))
    with pytest.raises(errors.UserError, match="active for no token of test"):
        steering.largest(run, 3)


@pytest.mark.slow
def test_two_texts_are_printed(run_on_tokens, program):
    flags = ("--latent=3", "--prompt=The Queen", "--new=5", "--temperature=0.5", "--seed=1")
    result = program("experiments.steer", f"--workdir={run_on_tokens}", "--how=ablate", *flags)
    assert result.returncode == 0, result.stderr
    blocks = result.stdout.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        "glassllm-en by itself",
        "latent 3 ablated",
    ]
    assert all(block.splitlines()[1].startswith("  The Queen") for block in blocks)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--latent=3", "--prompt=x"), "which run?"),
        (("--workdir={run}", "--prompt=x"), "which latent?"),
        (("--workdir={run}", "--latent=3"), "what should be continued?"),
        (("--workdir={run}", "--latent=96", "--prompt=x"), "latents from 0 to 95"),
    ],
)
def test_a_mistake_is_one_line(run_on_tokens, program, arguments, said):
    found = [argument.format(run=run_on_tokens) for argument in arguments]
    result = program("experiments.steer", *found)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
