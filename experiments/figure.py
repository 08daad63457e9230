"""Draws pictures of a trained run: `python -m experiments.figure --workdir=... --name=features`.

Without --name it draws all that make sense for the run.
"""

from pathlib import Path

from absl import flags

from experiments import cli, figures, run
from sae_jax import errors

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_NAME = flags.DEFINE_string("name", None, "A file of experiments/figures. Default: all.")


def main() -> int:
    """Draws and says where; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    if _NAME.value is not None and _NAME.value not in figures.names():
        raise errors.UserError(
            f'there is no figure "{_NAME.value}": there are {", ".join(figures.names())}'
        )
    cli.use_compilation_cache()
    folder = Path(_WORKDIR.value)
    view = run.view(folder, *run.load(folder))
    names = [_NAME.value] if _NAME.value else figures.names()
    for name in names:
        path = figures.draw(name, view)
        print(path if path is not None else f"{name} makes no sense for this run")
    return 0


if __name__ == "__main__":
    cli.run(main)
