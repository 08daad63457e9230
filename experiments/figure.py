"""Draws pictures of a trained run or of many side by side, or makes a table of many.

python -m experiments.figure --workdir=runs/first --name=features
python -m experiments.figure --runs=runs/k,runs/weight --name=frontier
python -m experiments.figure --name=k_sparse

With --workdir: a file of `experiments/figures`; without --name all that make sense for the run.
With --runs, folders of runs such as those of sweeps: a file of `experiments/comparisons`. With
neither: a file of `experiments/tables`, whose missing runs are trained first, or, with --notrain,
left out; the names "classics" and "papers" make all tables of classical autoencoders, and of sparse
ones (`configs/papers`).
"""

from pathlib import Path

from absl import flags

from experiments import cli, comparisons, figures, run, tables
from sae_jax import errors

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_RUNS = flags.DEFINE_list("runs", [], "Folders of runs to compare, each a line.")
_EVALUATION = flags.DEFINE_string("evaluation", "test", "With --runs: which numbers to compare.")
_OUT = flags.DEFINE_string("out", None, "With --runs: the picture. Default: runs/<name>.png.")
_NAME = flags.DEFINE_string("name", None, "What to draw: see above.")
_ROOT = flags.DEFINE_string("root", str(tables.ROOT), "Where tables and their runs are kept.")
_SEEDS = flags.DEFINE_integer("seeds", None, "Of a table's row, use the first so many.", 1)
_TRAIN = flags.DEFINE_boolean("train", True, "Train what a table lacks; else leave it out.")

GROUPS = ("classics", "papers")


def main() -> int:
    """Draws and says where; returns the exit status."""
    cli.use_compilation_cache()
    if _RUNS.value:
        _compare()
    elif _WORKDIR.value is None:
        _make_tables()
    else:
        _draw(Path(_WORKDIR.value))
    return 0


def _draw(folder: Path) -> None:
    names = figures.names() if _NAME.value is None else [_NAME.value]
    if unknown := set(names) - set(figures.names()):
        raise errors.UserError(
            f'there is no figure "{min(unknown)}" of a run: there are {", ".join(figures.names())}'
        )
    view = run.view(folder, *run.load(folder))
    for name in names:
        path = figures.draw(name, view)
        print(path if path is not None else f"{name} makes no sense for this run")


def _compare() -> None:
    if _NAME.value is None:
        raise errors.UserError(f"which picture? --name is one of {', '.join(comparisons.names())}")
    path = Path(_OUT.value or f"runs/{_NAME.value}.png")
    folders = [Path(folder) for folder in _RUNS.value]
    if said := comparisons.draw(_NAME.value, folders, _EVALUATION.value, path):
        print(said)
    print(path)


def tables_of(name: str) -> list[str]:
    """Returns the tables that a name stands for: one, or those of a group."""
    if name not in GROUPS:
        return [name]
    of_papers = {
        table: any(row.config.startswith("configs/papers/") for row in tables.find(table).ROWS)
        for table in tables.names()
    }
    return [table for table, is_one in of_papers.items() if is_one == (name == "papers")]


def _make_tables() -> None:
    if _NAME.value not in (*GROUPS, *tables.names()):
        what = "which table?" if _NAME.value is None else f'there is no table "{_NAME.value}":'
        raise errors.UserError(
            f"{what} --name is one of {', '.join(tables.names())}, or {' or '.join(GROUPS)} for "
            "many; a picture of one run needs --workdir too"
        )
    chosen = tables_of(_NAME.value)
    if not _TRAIN.value and _NAME.value in GROUPS:
        chosen = [name for name in chosen if (Path(_ROOT.value) / name / "measured").is_dir()]
    for name in chosen:
        folder = tables.make(name, Path(_ROOT.value), _SEEDS.value, _TRAIN.value)
        print(f"\n{(folder / 'table.md').read_text()}")
        print(f"  {folder / 'table.md'}\n  {folder / 'table.png'}")


if __name__ == "__main__":
    cli.run(main)
