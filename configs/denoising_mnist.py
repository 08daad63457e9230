r"""Denoising autoencoders on MNIST: noise, missing pixels and blur, undone.

python -m experiments.main --config=configs/denoising_mnist.py
python -m experiments.main --config=configs/denoising_mnist.py:patch
python -m experiments.figure --name=denoising

The model sees a corrupted image and is trained towards the image as it was (Vincent et al. 2008,
2010). Test images are corrupted in the same way, each always by the same noise; PSNR and SSIM are
told of what the model saw (`psnr_input`) and of what it made of it. About 140 seconds on two CPU
cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = (
    *("", "debug", "masking", "salt_and_pepper", "blur", "patch"),
    *("stacked", "emphasised"),
)
_EPOCH = 300  # Steps of 200 examples.
_CORRUPTIONS = {
    "": dict(name="gaussian", sigma=0.5),
    "masking": dict(name="masking", share=0.5),
    "salt_and_pepper": dict(name="salt_and_pepper", share=0.3),
    "blur": dict(name="blur", sigma=1.5, noise=0.1),
    "patch": dict(name="patch", size=10),
    "emphasised": dict(name="salt_and_pepper", share=0.3),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for normal noise of standard deviation 0.5; "masking" for half of the pixels set to 0;
        "salt_and_pepper" for 3 in 10 set to black or white; "blur" for a blur of 1.5 pixels and
        noise of 0.1; "patch" for a square of 10 x 10 pixels set to 0, anywhere; "stacked" for the
        job of "" with logistic units, each layer trained by itself first; "emphasised" for the job
        of "salt_and_pepper" with twice the weight on corrupted pixels; "debug" for a few steps of
        the main job.
    """
    if arg not in VARIANTS:
        raise ValueError(f'denoising_mnist has no variant "{arg}": it has {", ".join(VARIANTS)}')
    corruption = _CORRUPTIONS[arg if arg in _CORRUPTIONS else ""]
    config = base.get_config()
    config.num_steps = 20 * _EPOCH
    config.batch_size = 200
    config.eval_every = 5 * _EPOCH
    config.checkpoint_every = 5 * _EPOCH
    config.data.update(name="mnist", split="train", folder="")
    config.corruption = ml_collections.ConfigDict(corruption)
    config.model.update(
        name="mlp",
        d_sae=400,
        hidden=(800,),
        activation=dict(name="relu"),
        nonlinearity="silu",
        output="sigmoid",
        bias="mean",
    )
    config.loss.bce = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=1e-3, warmup=0.02), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(
            split="test",
            batch_size=1000,
            metrics=("psnr", "ssim", "mse"),
            corruption=corruption,
        )
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(hidden=(32,), d_sae=16)
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    if arg == "stacked":
        _stacked(config, epochs_each=5)
    if arg == "emphasised":
        config.loss = ml_collections.ConfigDict(
            dict(emphasised=dict(weight=1.0, alpha=2.0, beta=1.0, of="bce"))
        )
    return config


def _stacked(config: ml_collections.ConfigDict, epochs_each: int) -> None:
    """Vincent et al. 2010: logistic units; two layers, each a denoiser of its own; then the whole.

    What the first layer sees has the noise of the images besides.
    """
    steps = epochs_each * _EPOCH
    config.model.update(
        activation=dict(name="sigmoid"), nonlinearity="sigmoid", layerwise=True, layer_noise=0.25
    )
    config.loss = ml_collections.ConfigDict(
        dict(
            layerwise=dict(
                weight=dict(name="step", value=1.0, factor=0.0, at=(2 * steps,)), steps=steps
            ),
            bce=dict(name="linear", start=0.0, end=1.0, begin=2 * steps, over=1),
        )
    )


def noise() -> sweep.Sweep:
    """How strong the noise is, in training; the test images stay as they are."""
    return sweep.grid("corruption.sigma", 0.25, 0.5, 0.75)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
