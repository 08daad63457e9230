"""Opens a run whose examples are tokens: its data, its language model, its codes."""

from collections.abc import Callable
import dataclasses
from pathlib import Path

import jax
import numpy as np

from experiments import build, run, workdir
from sae_jax import errors, mesh as meshes
from sae_jax.data import activations
from sae_jax.lm import base as lm
from sae_jax.train import feed, loop, step


@dataclasses.dataclass(frozen=True)
class Opened:
    """A trained run with what it was trained on.

    Attributes:
      task: as its config describes it.
      state: as it is evaluated.
      data: the rows of a split.
      model: the language model that the rows are of.
    """

    task: loop.Task
    state: step.State
    data: activations.Activations
    model: lm.LanguageModel

    @property
    def written(self) -> tuple[str, ...]:
        """The sites that are reconstructed."""
        return self.data.target_sites or self.data.sites

    @property
    def widths(self) -> list[int]:
        """Numbers at each of these."""
        return [self.data.stores[0].plan.sites[site] for site in self.written]

    def encoder(self) -> Callable[[np.ndarray], jax.Array]:
        """Returns a function from numbers of rows to codes `[rows, d_sae]`; compiles once."""
        whole = meshes.replicated(self.task.mesh)

        def of(state: step.State, raw: dict[str, jax.Array]) -> jax.Array:
            return step.reconstruct(self.task.method, state, self.data.decode(raw)).codes

        codes = jax.jit(meshes.over(self.task.mesh, of), out_shardings=whole)

        def encode(index: np.ndarray) -> jax.Array:
            raw = {name: feed.put(array, whole) for name, array in self.data.rows(index).items()}
            return codes(self.state, raw)

        return encode


def load(folder: Path, split: str) -> Opened:
    """Opens a run that lies in a folder.

    Raises:
      UserError: there is no run, or its examples are no tokens, or its language model is not known,
        or is not the one that its store was written with.
    """
    group = build.plain(workdir.load_config(folder))["data"]
    if group["name"] != "activations":
        raise errors.UserError(
            f"{folder} was trained on {group['name']}: only runs on a store of tokens, such as "
            "those of configs/llm_topk.py, have text to look at"
        )
    if not group.get("recipe"):
        raise errors.UserError(
            f"{folder} does not say which language model its store is of: train with "
            "config.data.recipe, the config that experiments.dump wrote it by"
        )
    task, state = run.load(folder)
    data = build.data({**group, "split": split})
    for store in data.stores:
        if store.sequences is None:
            raise errors.UserError(f"the rows of {store.folder} are of no tokens")
    model = build.language_model(build.reader_recipe(group["recipe"])["lm"])
    known = {"model": model.name, "weights": model.fingerprint()}
    for store in data.stores:
        source = {name: store.plan.source.get(name) for name in known}
        if source != known:
            raise errors.UserError(
                f"{store.folder} is of {source['model']} with weights {source['weights']}, but "
                f"{group['recipe']} names {model.name} with {known['weights']}"
            )
    return Opened(task, state, data, model)
