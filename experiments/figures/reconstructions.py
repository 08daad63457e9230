"""Examples of the first evaluation, and under each what the model makes of it."""

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
    return {
        "inputs": target.reshape(-1, *shape),
        "outputs": output.x_hat.reshape(-1, *shape),
        "l0": (output.codes != 0).sum(axis=-1),
        "mse_sum": ((target - output.x_hat) ** 2).sum(axis=-1),
    }


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws inputs above reconstructions, with active latents and squared error under each."""
    inputs, outputs = rows["inputs"], rows["outputs"]
    axes = figure.subplots(2, len(inputs), squeeze=False)
    low, high = float(inputs.min()), float(inputs.max())
    for column, (above, below) in enumerate(zip(inputs, outputs, strict=True)):
        for axis, image in zip(axes[:, column], (above, below), strict=True):
            axis.imshow(np.squeeze(image), cmap="gray", vmin=low, vmax=high)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[1, column].set_xlabel(
            f"{rows['l0'][column]} active\nerror {rows['mse_sum'][column]:.1f}", fontsize=7
        )
    axes[0, 0].set_ylabel("input")
    axes[1, 0].set_ylabel("reconstruction")
