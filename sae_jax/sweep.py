"""An algebra of sweeps: which settings are tried together.

A trial is a dict of overrides of a config, by dotted key; a sweep is a list of trials. A sweep is
plain data, so it can be printed, counted and joined to others before anything runs:

    product(grid("loss.l1", 0.1, 0.3), grid("seed", 0, 1, 2))    # Six trials.

A config file offers as sweeps its public functions that need no arguments and are annotated
`-> sweep.Sweep`; without the annotation a function is none. Their docstrings' first lines are shown
to those who ask for another:

    def seeds() -> sweep.Sweep:
        return sweep.grid("seed", 0, 1, 2)

A trial overrides keys that `get_config` sets, with values of their types.
"""

from collections.abc import Iterable
import itertools
import json
from typing import Any

Trial = dict[str, Any]
Sweep = list[Trial]


def grid(key: str, *values: Any) -> Sweep:
    """Returns one trial for each value of `key`."""
    return [{key: value} for value in values]


def product(*sweeps: Iterable[Trial]) -> Sweep:
    """Returns every combination of one trial from each sweep; the last sweep varies fastest."""
    return [_merge(trials) for trials in itertools.product(*sweeps)]


def zipped(*sweeps: Iterable[Trial]) -> Sweep:
    """Returns the first trials of all sweeps merged, then the second ones, and so on.

    Raises:
      ValueError: the sweeps are not of one length, or a key is swept twice.
    """
    columns = [list(sweep) for sweep in sweeps]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"zipped sweeps must be of one length, these have {lengths}")
    return [_merge(trials) for trials in zip(*columns, strict=True)]


def chain(*sweeps: Iterable[Trial]) -> Sweep:
    """Returns the trials of all sweeps, one sweep after the other."""
    return list(itertools.chain(*sweeps))


def flat(config: dict[str, Any]) -> dict[str, str]:
    """Returns dotted keys, as trials have them, and values as JSON.

    In JSON a tuple and a list are the same, so a config and its saved copy compare equal.
    """
    found: dict[str, str] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            found[prefix] = json.dumps(value)

    walk("", config)
    return found


def _merge(trials: Iterable[Trial]) -> Trial:
    """Returns one trial with the overrides of all; no two may override the same key."""
    merged: Trial = {}
    for trial in trials:
        if clash := sorted(merged.keys() & trial.keys()):
            raise ValueError(f"swept twice: {', '.join(clash)}")
        merged |= trial
    return merged
