"""SAELens: `SAETrainer` with the architectures topk, batchtopk, standard and jumprelu.

Its defaults: AuxK of weight 1 (TopK, BatchTopK; latents are dead after 1,000 steps), the gradient's
norm clipped at 1, Adam. Decoder rows are free: latents are compared by what they would write, which
stands for unit norms. In bfloat16 it is `autocast`.
"""

from typing import Any

from sae_lens import (
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    LoggingConfig,
    StandardTrainingSAEConfig,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainingSAE
from sae_lens.training.sae_trainer import SAETrainer

from benchmarks import protocol
from benchmarks.peers import common

_LEARNING_RATE = 3e-4  # Their default, and its end, which their runner for language models sets.
_STEPS = 100_000  # Of a run that the benchmark sees the beginning of.


def main() -> None:
    """Trains until the benchmark has seen enough."""
    job = protocol.job()
    rounds = protocol.Rounds()
    take = common.examples(job)
    trainer = SAETrainer(
        cfg=_config(job),
        sae=TrainingSAE.from_dict(_architecture(job).to_dict()),
        data_provider=rounds.batches(take),
    )
    if job.dead_latents:
        common.silence(trainer.sae.b_enc, trainer.n_forward_passes_since_fired, job)
    rounds.ready(**common.facts("sae-lens"))
    trainer.fit()


def _architecture(job: protocol.Job) -> Any:
    sizes: dict[str, Any] = dict(d_in=job.d_in, d_sae=job.d_sae, device="cpu")
    if job.variant == "topk":
        return TopKTrainingSAEConfig(k=job.k, **sizes)
    if job.variant == "batch_topk":
        return BatchTopKTrainingSAEConfig(k=float(job.k), **sizes)
    if job.variant == "jumprelu":
        return JumpReLUTrainingSAEConfig(**sizes)
    return StandardTrainingSAEConfig(**sizes)


def _config(job: protocol.Job) -> Any:
    return SAETrainerConfig(
        total_training_samples=_STEPS * job.batch,
        train_batch_size_samples=job.batch,
        device="cpu",
        autocast=job.dtype == "bfloat16",
        lr=_LEARNING_RATE,
        lr_end=_LEARNING_RATE / 10,
        logger=LoggingConfig(log_to_wandb=False),
    )


if __name__ == "__main__":
    main()
