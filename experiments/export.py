"""Exports a trained run for small devices: `python -m experiments.export --workdir=W --out=DIR`.

Writes encode, reconstruct and, where codes are all that the decoder needs, decode: files that run
with jax and flatbuffers alone, a README.txt that says how, and export.json with shapes, versions,
sha256 and numbers. With --int8 their weights are int8, and the table says what that costs. DIR
appears when all is written.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

from absl import flags
import jax
import jaxlib
import numpy as np

from experiments import build, cli, report, run, workdir
import sae_jax
from sae_jax import errors, files as files_lib, types
from sae_jax.analysis import export, quantise
from sae_jax.data import base
from sae_jax.train import evaluate, loop, step

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_OUT = flags.DEFINE_string("out", None, "A new folder for the files.")
_INT8 = flags.DEFINE_bool("int8", False, "Store the weights in 8 bits.")
_PLATFORMS = flags.DEFINE_list(
    "platforms", ["cpu", "cuda", "tpu"], f"Where they are to run: {', '.join(export.PLATFORMS)}."
)

_EXAMPLES = 64
_CALLS = 200
_MAPS = {"encode": ("x", "codes"), "decode": ("codes", "x_hat"), "reconstruct": ("x", "x_hat")}


@dataclasses.dataclass(frozen=True)
class Pack:
    """The functions with one kind of weights.

    Attributes:
      files: what each function's file holds.
      weights: bytes of all parameters.
      numbers: of the run's evaluations with these weights.
      difference: the largest between what the files and the run itself make of the same examples.
        None: this machine cannot run them.
      milliseconds: the median time of `encode` for one example, or None likewise.
    """

    files: Mapping[str, bytes]
    weights: int
    numbers: Mapping[str, float]
    difference: float | None
    milliseconds: float | None


def main() -> int:
    """Exports, tries the files and prints a table; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    if _OUT.value is None:
        raise errors.UserError("where to? --out=..., a new folder")
    out = Path(_OUT.value)
    _refuse_platforms()
    _refuse_full(out)
    cli.use_compilation_cache()
    with _beside(out) as beside:
        _export(Path(_WORKDIR.value), out, Path(beside) / "whole")
    return 0


def _export(folder: Path, out: Path, beside: Path) -> None:
    """Writes the files to `beside`, which then becomes `out`; prints the table."""
    task, state = run.load(folder)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    examples = _examples(task)
    found, missing = export.functions(task.method, state, np.asarray(examples.x))
    params = evaluator.gathered(state.params)
    packs = {"float32": _pack(task, evaluator, state, examples, found, params)}
    if _INT8.value:
        small = quantise.quantise(params)
        changed = dataclasses.replace(state, params=quantise.dequantise(small))
        packs["int8"] = _pack(task, evaluator, changed, examples, found, small)
    weights, pack = list(packs.items())[-1]
    about = {
        "data": task.data.spec.name,
        "data_scale": _scale(task),
        "step": int(state.step),
        "weights": weights,
        "platforms": _PLATFORMS.value,
        "functions": {name: _about(name, found[name], data) for name, data in pack.files.items()},
        "missing": missing,
        "numbers": {name: dict(each.numbers) for name, each in packs.items()},
        "versions": _versions(pack),
        "config": build.plain(workdir.load_config(folder)),
    }
    _write(out, beside, pack.files, about)
    print(_table(packs))
    for name, why in missing.items():
        print(f"\nno {name}: {why}")
    print(f"\n  {out / 'README.txt'}  how to run the files, with weights in {weights}")


def _refuse_platforms() -> None:
    """Raises for a platform that there is not, or for none."""
    known = ", ".join(export.PLATFORMS)
    if not _PLATFORMS.value:
        raise errors.UserError(f"--platforms= names none: choose from {known}")
    for platform in _PLATFORMS.value:
        if platform not in export.PLATFORMS:
            raise errors.UserError(f'--platforms: there is no "{platform}": choose from {known}')


def _refuse_full(out: Path) -> None:
    """Raises if something lies where the files are to go."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise errors.UserError(f"--out={out} is there and not empty: name a new folder")


def _examples(task: loop.Task) -> types.Batch:
    """Returns a batch of the first evaluation, or of the training data if there is none."""
    if task.evaluations:
        return next(iter(task.evaluations.values())).first(_EXAMPLES)
    return base.first(task.data, _EXAMPLES)


def _pack(
    task: loop.Task,
    evaluator: evaluate.Evaluator,
    state: step.State,
    examples: types.Batch,
    found: Mapping[str, export.Function],
    params: Any,
) -> Pack:
    """Returns the files for `params`, of which `state` holds the values, measured and tried."""
    files = {
        name: export.serialise(name, function, params, _PLATFORMS.value)
        for name, function in found.items()
    }
    weights = quantise.nbytes(params)
    numbers = loop.finish(task, evaluator.all_totals(task.evaluations, state))
    if jax.export.default_export_platform() not in _PLATFORMS.value:
        return Pack(files, weights, numbers, None, None)
    output = evaluator.outputs(state, examples)
    values: dict[str, Any] = {
        "x": np.asarray(examples.x),
        "codes": output.codes,
        "x_hat": output.x_hat,
    }
    programs = {name: export.load(data) for name, data in files.items()}
    difference = max(
        float(np.abs(program(values[_MAPS[name][0]]) - values[_MAPS[name][1]]).max())
        for name, program in programs.items()
    )
    milliseconds = _milliseconds(programs["encode"], values["x"][:1])
    return Pack(files, weights, numbers, difference, milliseconds)


def _milliseconds(program: Any, x: np.ndarray) -> float:
    """Returns the median time of a call, after the one that compiles."""
    times = []
    for _ in range(_CALLS + 1):
        start = time.perf_counter()
        np.asarray(program(x))
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _about(name: str, function: export.Function, data: bytes) -> dict[str, Any]:
    """Returns what a file is."""
    return {
        "file": name + export.SUFFIX,
        "input": ["batch", function.d_in],
        "output": ["batch", function.d_out],
        "dtype": "float32",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _versions(pack: Pack) -> dict[str, Any]:
    exported = jax.export.deserialize(bytearray(pack.files["encode"]))
    return {
        "sae_jax": sae_jax.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "calling_convention": exported.calling_convention_version,
    }


def _scale(task: loop.Task) -> float:
    """Returns what a number of the data set is divided by to be an `x`."""
    return task.data.divisor if isinstance(task.data, base.Arrays) else 1.0


def _beside(out: Path) -> tempfile.TemporaryDirectory:
    """Returns a folder that is there for a while, on the disk of `out`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise errors.UserError(_cannot_write(out, error)) from error


def _write(out: Path, beside: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Writes all files to `beside` and then gives it the name `out`."""
    contents = {name + export.SUFFIX: data for name, data in files.items()}
    contents["README.txt"] = _readme(about).encode()
    contents["export.json"] = (json.dumps(about, indent=2) + "\n").encode()
    try:
        beside.mkdir()
        for name, data in contents.items():
            files_lib.replace(beside / name, data)
        os.rename(beside, out)
    except OSError as error:
        raise errors.UserError(_cannot_write(out, error)) from error


def _cannot_write(out: Path, error: OSError) -> str:
    return f"cannot write --out={out} ({error.strerror}): name a new folder where there is room"


def _readme(about: Mapping[str, Any]) -> str:
    """Returns what a person with the files alone must know."""
    shapes = []
    for name, each in about["functions"].items():
        source, result = (
            f"{what} {str(each[side]).replace(chr(39), '')}"
            for what, side in zip(_MAPS[name], ("input", "output"), strict=True)
        )
        shapes.append(f"  {each['file']:<24}{source} -> {result}")
    scale = about["data_scale"]
    divided = f": the numbers of {about['data']}, divided by {scale:g}" if scale != 1 else ""
    versions = about["versions"]
    return f"""\
An autoencoder of {about["data"]}, exported by sae_jax {versions["sae_jax"]}.
Weights: {about["weights"]}. Runs on: {", ".join(about["platforms"])}.

Needs: pip install jax flatbuffers

  import jax, jax.export
  exported = jax.export.deserialize(bytearray(open("encode{export.SUFFIX}", "rb").read()))
  codes = jax.jit(exported.call)(x)

{chr(10).join(shapes)}

All arrays are float32. x and x_hat are in the scale of the data{divided}.
export.json holds the sha256 of each file, what was measured, and the config of the run.
Written by jax {versions["jax"]}, calling convention {versions["calling_convention"]}; a jax of up
to six months later runs it.
"""


def _table(packs: Mapping[str, Pack]) -> str:
    """Returns bytes, time, agreement and the run's metrics, a column for each kind of weights."""
    each = list(packs.values())
    cells = [f"{pack.weights / 1e6:.3f} MB" for pack in each]
    lines = [("weights", cells, "all parameters")]
    for name in each[0].files:
        source, result = _MAPS[name]
        cells = [f"{len(pack.files[name]) / 1e6:.3f} MB" for pack in each]
        lines.append((name + export.SUFFIX, cells, f"{source} -> {result}"))
    if each[0].difference is not None:
        cells = [f"{pack.milliseconds:.2f} ms" for pack in each]
        lines.append(("encode", cells, f"one example, median of {_CALLS} calls on this machine"))
        cells = [f"{pack.difference:.1e}" for pack in each]
        lines.append(("difference", cells, "largest, of what the files and the run return"))
    for key in each[0].numbers:
        cells = [f"{pack.numbers[key]:.5g}" for pack in each]
        lines.append((key, cells, report.meaning(key.split("/", 1)[1])))
    width = max(len(name) for name, _, _ in lines)
    head = " " * width + "".join(f"{name:>12}" for name in packs)
    rest = [
        f"{name:<{width}}{''.join(f'{cell:>12}' for cell in cells)}   {said}"
        for name, cells, said in lines
    ]
    return "\n".join(line.rstrip() for line in (head, *rest))


if __name__ == "__main__":
    cli.run(main)
