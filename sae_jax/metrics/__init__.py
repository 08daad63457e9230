"""Metrics, one file each, found by file name.

A file has two functions, and says in `MEANING` what each of its numbers is, by its name or a
pattern such as "psnr_*":

  sums(batch, output, reference) -> pytree of arrays    on the devices, of one batch
  finish(totals) -> {name: number}                      on the host, of the sums of those, float64

A number is of the whole split, however that was cut into batches: what cannot be summed has no
place in `sums`, and rows that `types.mask(batch)` says are padding add nothing. `batch` and
`output.x_hat` are in the scale of the data, codes and pre-activations dense arrays, in the scale of
the model. `reference` is a point near the mean target, `[d_out]`, about which squares can be summed
without loss.

Parameters of `sums` besides are knobs that the config sets, but for three that are given:

  model     a `types.Bound`, for what one forward pass does not tell
  grid      what a target, reshaped, is: `(height, width, channels)`; None where it is nothing
  prepared  what `prepare(params, data)` returned, if the file has it: a dict, computed once on the
            host from whole parameters (NumPy, rows of the dictionary as `w_dec`) and the data set

What does not fit model or data raises an `errors.UserError`. `tests/contracts/metrics_test.py` goes
through all of them; what only one of them is given stands at its top.
"""
