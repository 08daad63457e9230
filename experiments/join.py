"""Which configs one program can train together, and the task of all of them.

They may differ in the seed and in any number of what is trained, such as `loss.l1` or
`model.activation.k`, as long as the program is the same: it is traced to find out. All else, such
as the data, the batch size, a name or a width, is the same.
"""

from collections.abc import Mapping, Sequence
import json
from typing import Any, NamedTuple

from experiments import build
from sae_jax import errors, mesh as meshes, sweep
from sae_jax.ops import per_member
from sae_jax.train import ensemble, loop

_METHOD = ("model", "loss", "optim", "corruption", "remedy")
_OWN = ("keep_checkpoints",)  # Of no program.


class Loader:
    """Loads data sets, each once."""

    def __init__(self) -> None:
        """Has loaded none."""
        self._loaded: dict[str, Any] = {}

    def __call__(self, group: build.Group) -> Any:
        """Returns what `build.data` returns."""
        key = json.dumps(group, sort_keys=True)
        if key not in self._loaded:
            self._loaded[key] = build.data(group)
        return self._loaded[key]


def task(configs: Sequence[build.Group], load: Loader) -> loop.Task:
    """Returns the task of plain configs on one device; numbers that differ are `PerMember`.

    Raises:
      DiffersError: they differ in something else than numbers.
      UserError: as `build.task` does.
    """
    mesh = configs[0]["mesh"]
    if mesh["dictionary"] != 1:
        raise errors.UserError(
            f"mesh.dictionary={mesh['dictionary']}: one program for many runs spreads runs over "
            "the devices, not a dictionary; train this one without --together"
        )
    return build.task_of(_joined(configs), load, meshes.first(1))


class Group(NamedTuple):
    """Places of configs that one program trains, and what sets it apart from the first config."""

    places: list[int]
    why: str


def groups(configs: Sequence[build.Group], load: Loader) -> list[Group]:
    """Returns the places of plain configs in as few groups as can be."""
    found = []
    for places in _alike({place: _fixed(values) for place, values in enumerate(configs)}):
        deciding = _deciding([configs[place] for place in places], load)
        numbers = {place: _numbers(configs[place]) for place in places}
        kinds = {place: {key: numbers[place][key] for key in deciding} for place in places}
        for part in _alike(kinds):
            joins = _can_join([configs[place] for place in part], load)
            for some in [part] if joins else [[place] for place in part]:
                why = _difference(configs[0], configs[some[0]], deciding)
                found.append(Group(some, why))
    return found


def _deciding(configs: Sequence[build.Group], load: Loader) -> list[str]:
    """Returns the numbers that decide the program: those that cannot differ even alone."""
    if _can_join(configs, load):
        return []
    numbers = [_numbers(values) for values in configs]
    found = []
    for key in numbers[0]:
        wanted = sorted({some[key] for some in numbers})
        if not _can_join([_with(configs[0], key, value) for value in wanted], load):
            found.append(key)
    return found


def _alike(kinds: Mapping[int, Mapping[str, Any]]) -> list[list[int]]:
    """Returns the places of which the same is said together, in their order."""
    found: dict[Any, list[int]] = {}
    for place, kind in kinds.items():
        found.setdefault(tuple(kind.items()), []).append(place)
    return list(found.values())


def _difference(one: build.Group, other: build.Group, deciding: Sequence[str]) -> str:
    """Returns the settings, as they are in `other`, by which two configs are two programs."""
    before, after = sweep.flat(one), sweep.flat(other)
    shared = _numbers(one).keys() - set(deciding)
    differing = [key for key in after if key not in shared and before.get(key) != after[key]]
    return ", ".join(f"{key}={after[key]}" for key in differing if key not in _OWN)


def _joined(values: Sequence[Any]) -> Any:
    """Returns one value for all, with `PerMember` where numbers differ."""
    first = values[0]
    if all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        return {key: _joined([value[key] for value in values]) for key in first}
    if all(value == first and type(value) is type(first) for value in values):
        return first
    if all(_is_number(value) for value in values):
        return per_member.PerMember(values)
    raise per_member.DiffersError(f"{values}: they are no numbers")


def _fixed(values: build.Group) -> dict[str, str]:
    """Returns what all members share: each value but numbers, and which numbers there are."""
    flat = sweep.flat(values)
    own = {key: "a number" for key in _numbers(values)}
    return {key: own.get(key, flat[key]) for key in sorted(flat) if key not in _OWN}


def _numbers(values: build.Group) -> dict[str, float]:
    """Returns the numbers in which members may differ, by dotted key."""
    found: dict[str, float] = {"seed": values["seed"]}

    def walk(prefix: str, group: Mapping[str, Any]) -> None:
        for key, value in group.items():
            if isinstance(value, dict):
                walk(f"{prefix}{key}.", value)
            elif _is_number(value):
                found[f"{prefix}{key}"] = value

    walk("", {name: values[name] for name in _METHOD})
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _can_join(configs: Sequence[build.Group], load: Loader) -> bool:
    """Returns whether one program serves all: whether it can be traced."""
    if len(configs) == 1:
        return True
    try:
        ensemble.refuse(task(configs, load))
    except Exception:  # Where a number cannot be one of several, any kind of error says so.
        return False
    return True


def _with(values: build.Group, key: str, number: float) -> build.Group:
    """Returns a config with another number at a dotted key."""
    name, _, rest = key.partition(".")
    return {**values, name: _with(values[name], rest, number) if rest else number}
