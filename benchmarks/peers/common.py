"""What all peers share: threads, examples, and latents that are dead from the start."""

from collections.abc import Callable
from importlib import metadata
import itertools
from typing import Any

import torch

from benchmarks import protocol

_BATCHES = 4
_SILENT = -10.0  # A bias with which a latent is never among the active ones.


def examples(job: protocol.Job) -> Callable[[], torch.Tensor]:
    """Returns what returns the next batch of normal numbers, float32 `[batch, d_in]`.

    From now on torch uses as many threads as there are cores for this process.
    """
    torch.set_num_threads(protocol.cores())
    made = torch.randn(_BATCHES, job.batch, job.d_in, generator=torch.Generator().manual_seed(0))
    batches = itertools.cycle(made)
    return lambda: next(batches)


def facts(package: str) -> dict[str, Any]:
    """Returns what is told of a package: its version and torch's."""
    return {"versions": {package: metadata.version(package), "torch": torch.__version__}}


def silence(bias: torch.Tensor, counts: torch.Tensor, job: protocol.Job) -> None:
    """Makes the first latents silent, and their counters so large that they are dead.

    Args:
      bias: of the encoder, `[d_sae]`.
      counts: what the package counts since each latent was last active, `[d_sae]`.
      job: says how many.
    """
    with torch.no_grad():
        bias[: job.dead_latents] = _SILENT
        counts[: job.dead_latents] = 10**9
