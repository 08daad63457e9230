"""Pre-activations to codes, one file each, found by file name.

A file's `Activation` is a Flax module that is called with pre-activations `[batch, d_sae]` and a
context, and returns codes `[batch, d_sae]`. That is all it needs. It may have methods besides, with
which training leaves out what it can (`sae_jax/models/layers.py` calls them):

  choose(pre, context)             which few latents may be active, int `[batch, some]`; None: any
  value(found, context)            codes of those that were chosen, from their pre-activations
  among(found, compared, context)  in the place of `value`, where the batch decides as a whole
  max_active(d_sae, train)         how many are chosen by the largest `score(pre)`, in blocks too
  margin(pre)                      above 0 where a code, or its gradient, matters: often few latents
  raised(stats, factor)            stats with thresholds so many times as high, for calibration
"""
