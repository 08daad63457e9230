"""Named per-example loss terms, one file a family, found by function name.

A term is a public function of a file here; no two files have one of the same name:

  term(params, batch, output, context, *, knob=0.5) -> [batch]

It returns an unweighted number for each example, or the same for all where it is of the batch as a
whole; weight, schedule and the mean over examples are not its business. What it is given:

  params   arrays under the names that `sae_jax/models/base.py` states
  batch    `types.Batch`, in the model's scale: compare `batch.target`, which need not be its input
  output   `types.Output`; in training codes and pre-activations may be in sparse forms, which
           `sae_jax/ops/sparse.py` reads (`values`, `of_latents`, `all_of`), and decoder rows are
           had by `sae_jax/ops/geometry.py`
  context  `types.Context`: the step, for schedules; a key, to draw from; which latents are dead

Rows that `types.mask(batch)` says are padding must not change those of other examples. Knobs are
keyword-only, each with a default and a line in the docstring; a number may be a schedule if it is
read by `schedule.value`. One more, `model`, is no knob: who asks for it is given a `types.Bound`. A
term that meets a model without what it needs raises an `errors.ConfigError` that says what to set.

`tests/contracts/losses_test.py` goes through all of them; an extra that is read for the first time
has to be added to the output that it makes.
"""
