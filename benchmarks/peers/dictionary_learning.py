"""dictionary_learning: `trainSAE` with the trainers TopK, BatchTopK, Standard and JumpReLU.

Their defaults: AuxK of weight 1/32 (TopK, BatchTopK), the gradient's norm clipped at 1, gradients
along decoder rows taken out and rows scaled to norm 1, Adam. Standard resamples dead latents when
it is told to, which is not so by default. On the CPU it computes in float32 whatever the dtype:
`autocast_dtype` is for CUDA alone.
"""

from typing import Any

from dictionary_learning.trainers import (
    batch_top_k,
    jumprelu,
    standard,
    top_k,
)
from dictionary_learning.training import trainSAE

from benchmarks import protocol
from benchmarks.peers import common

_TRAINERS = {
    "topk": top_k.TopKTrainer,
    "batch_topk": batch_top_k.BatchTopKTrainer,
    "relu": standard.StandardTrainer,
    "jumprelu": jumprelu.JumpReluTrainer,
}
_WITH_AUXK = ("topk", "batch_topk")
_STEPS = 100_000  # Of a run that the benchmark sees the beginning of.


def main() -> None:
    """Trains until the benchmark has seen enough."""
    job = protocol.job()
    rounds = protocol.Rounds()
    take = common.examples(job)

    def trainer(**kwargs: Any) -> Any:
        made = _TRAINERS[job.variant](**kwargs)
        if job.dead_latents and job.variant in _WITH_AUXK:
            common.silence(made.ae.encoder.bias, made.num_tokens_since_fired, job)
        return made

    sizes = dict(steps=_STEPS, activation_dim=job.d_in, dict_size=job.d_sae)
    named: dict[str, Any] = dict(layer=0, lm_name="none", device="cpu")
    if job.variant in _WITH_AUXK:
        named["k"] = job.k
    if job.variant == "jumprelu":
        named["target_l0"] = float(job.k)
    rounds.ready(**common.facts("dictionary-learning"))
    trainSAE(
        rounds.batches(take),
        [dict(trainer=trainer, **sizes, **named)],
        steps=_STEPS,
        device="cpu",
    )


if __name__ == "__main__":
    main()
