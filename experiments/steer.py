"""Writes on with a latent changed: `python -m experiments.steer --workdir=W --latent=17`.

Beside what the language model writes by itself. In the activation a where the run's autoencoder
reads, at every token but the first of the text, which is unlike all others,

  add     a + strength unit d     d: the latent's decoder row, in the scale of the data; unit: the
                                  latent's highest code on --split, or 1 with --unit=row
  scale   a + (strength - 1) c d  c: the latent's code there
  ablate  a - c d

so that the rest of the activation, the autoencoder's error too, stays as it is.
"""

from pathlib import Path
import textwrap

from absl import flags

from experiments import cli
from experiments.explorer import opened, steering
from sae_jax import errors
from sae_jax.lm import generate

_WIDTH = 90  # Of lines.

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_LATENT = flags.DEFINE_integer("latent", None, "Which latent.", 0)
_HOW = flags.DEFINE_enum("how", "add", ["add", "scale", "ablate"], "What is done with it.")
_STRENGTH = flags.DEFINE_float("strength", 1.0, "How much; nothing to --how=ablate.")
_UNIT = flags.DEFINE_enum("unit", "max", ["max", "row"], "Of --strength, with --how=add.")
_SPLIT = flags.DEFINE_string("split", "test", "Of its store: where the highest code is sought.")
_PROMPT = flags.DEFINE_string("prompt", None, "The text that is continued.")
_NEW = flags.DEFINE_integer("new", 40, "Tokens to write.", 1)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 for the likeliest token each time.", 0.0)
_SEED = flags.DEFINE_integer("seed", 0, "Of what is left to chance.", 0, 2**32 - 1)


def main() -> int:
    """Writes both texts; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    if _LATENT.value is None:
        raise errors.UserError("which latent? --latent=17, as experiments.explore shows them")
    if not _PROMPT.value:
        raise errors.UserError('what should be continued? --prompt="Once upon a time"')
    cli.use_compilation_cache()
    run = opened.load(Path(_WORKDIR.value), _SPLIT.value)
    edits, said = steering.changed(run, _LATENT.value, _HOW.value, _STRENGTH.value, _UNIT.value)
    ids, mask = run.model.batch([_PROMPT.value])
    if not mask.any():
        raise errors.UserError(f"--prompt={_PROMPT.value!r} is no token of {run.model.name}")
    for heading, found in ((f"{run.model.name} by itself", {}), (said, edits)):
        new = generate.generate(
            run.model, ids, mask, _NEW.value, _TEMPERATURE.value, _SEED.value, found
        )
        text = run.model.tokenizer.decode([*ids[0][mask[0]], *new[0]])
        print(f"\n{heading}")
        print(textwrap.indent(textwrap.fill(text, _WIDTH), "  "))
    return 0


if __name__ == "__main__":
    cli.run(main)
