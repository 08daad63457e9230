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
    count, height, width = originals.shape[:3]
    gap = max(2, width // 8)
    shape = len(images) * (height + gap) / (count * (width + gap))
    figure.set_figheight(0.9 * SIZE[0] * shape + 0.6)  # What stands beside and below takes room.
    sheet = figures.sheet(np.concatenate(list(images.values())), count, gap)
    if sheet.ndim == 3:  # Colours know no NaN.
        sheet = np.nan_to_num(sheet, nan=1.0)
    axis = figure.subplots()  # One for all: each costs as much as everything in it.
    axis.imshow(sheet, cmap="gray", vmin=low, vmax=high)
    axis.set_yticks([(height + gap) * i + height / 2 for i in range(len(images))], [*images])
    below = [
        f"{l0} active\nerror {error:.1f}"
        for l0, error in zip(rows["l0"], rows["mse_sum"], strict=True)
    ]
    axis.set_xticks([(width + gap) * i + width / 2 for i in range(count)], below, fontsize=7)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
