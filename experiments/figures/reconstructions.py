"""Examples of the first evaluation, and under each what the model makes of it.

Where the examples are corrupted, the corrupted one stands between what it was and what it becomes.
"""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (9.8, 2.2)


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[count, height, width, channels]`, and active latents `[count]`."""
    shape = run.spec.image_shape
    if shape is None:
        return None
    target, output = run.target, run.output
    if target.shape != run.input.shape:
        return None
    seen = {} if np.array_equal(run.input, target) else {"input": run.input}
    images: dict[str, np.ndarray] = {"original" if seen else "input": target, **seen}
    images["reconstruction"] = np.asarray(output.x_hat)
    return {
        "images": {name: x.reshape(-1, *shape) for name, x in images.items()},
        "l0": (output.codes != 0).sum(axis=-1),
        "mse_sum": ((target - output.x_hat) ** 2).sum(axis=-1),
    }


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a row of pictures for each name, with active latents and squared error below."""
    images = rows["images"]
    originals = next(iter(images.values()))
    low, high = float(originals.min()), float(originals.max())
    figure.set_figheight(SIZE[1] * (1 + 2 * len(images)) / 5)
    axes = figure.subplots(len(images), len(originals), squeeze=False)
    for line, (name, pictures) in zip(axes, images.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(np.squeeze(picture), cmap="gray", vmin=low, vmax=high)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name)
    for axis, l0, error in zip(axes[-1], rows["l0"], rows["mse_sum"], strict=True):
        axis.set_xlabel(f"{l0} active\nerror {error:.1f}", fontsize=7)
