"""sparsify (eai-sparsify): its `Trainer` on a language model of one layer that is a table.

It trains on what a module of a language model puts out, so one is made whose module returns the
benchmark's examples. Beside sizes are set: AuxK of weight 1/32 and Adam, as its defaults are none
and a signed momentum with half the state. Decoder rows have norm 1 and gradients along them are
taken out; the gradient is not clipped: there is no such option. On the CPU its decoder is the eager
one, not the Triton kernel, and it computes in float32 whatever the dtype: it asks for bfloat16 on
CUDA alone.
"""

import os
import tempfile
import types
from typing import Any

import torch

if not torch.cuda.is_available():
    # Where Triton is installed, it would be used, and fail without a GPU.
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

from sparsify import SaeConfig, TrainConfig, Trainer  # noqa: E402

from benchmarks import protocol
from benchmarks.peers import common

_STEPS = 100_000  # Of a run that the benchmark sees the beginning of.


class _Layer(torch.nn.Module):
    """Returns the examples that lie ready, `[1, batch, d_in]`."""

    rows: torch.Tensor

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        del hidden
        return self.rows[None]


class _Model(torch.nn.Module):
    """As much of a language model as the trainer asks for."""

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.layer = _Layer()
        self.config = types.SimpleNamespace(hidden_size=d_in, num_hidden_layers=1)
        self.device = torch.device("cpu")
        self.dummy_inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.long)}

    @property
    def base_model(self) -> "_Model":
        return self

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.layer(input_ids)


class _Tokens(torch.utils.data.Dataset):
    """A sequence a step; with each the model is given the rows that it will return."""

    def __init__(self, batches: Any, layer: _Layer, length: int) -> None:
        self._batches, self._layer, self._length = batches, layer, length

    def __len__(self) -> int:
        return _STEPS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self._layer.rows = next(self._batches)
        return {"input_ids": torch.zeros(self._length, dtype=torch.long)}


def main() -> None:
    """Trains until the benchmark has seen enough."""
    job = protocol.job()
    rounds = protocol.Rounds()
    take = common.examples(job)
    model = _Model(job.d_in)
    model.layer.rows = take()
    activation = {"topk": "topk", "group_max": "groupmax"}[job.variant]
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            SaeConfig(activation=activation, num_latents=job.d_sae, k=job.k),
            batch_size=1,
            hookpoints=["layer"],
            optimizer="adam",
            auxk_alpha=1 / 32,
            save_every=_STEPS,
            log_to_wandb=False,
            save_dir=folder,
        )
        tokens = _Tokens(rounds.batches(take), model.layer, job.batch)
        trainer = Trainer(config, tokens, model)
        if job.dead_latents:
            counts = trainer.num_tokens_since_fired["layer"]
            common.silence(trainer.saes["layer"].encoder.bias, counts, job)
        rounds.ready(**common.facts("eai-sparsify"))
        trainer.fit()


if __name__ == "__main__":
    main()
