"""Every config, every variant of it and every sweep, found by name; and what a typo leads to."""

import ast
import importlib
from pathlib import Path
import subprocess
import sys

import jax
import ml_collections
import numpy as np
import pytest

from experiments import build, checks
from launch import trials
from sae_jax import errors
from sae_jax.data import base
from sae_jax.train import loop, step

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "configs").rglob("*.py"))
    if path.name not in ("base.py", "__init__.py") and path.parent.name != "dumps"
}
CONFIGS = {name: importlib.import_module(name) for name in MODULES}
VARIANTS = [(name, variant) for name, module in CONFIGS.items() for variant in module.VARIANTS]
SWEEPS = [(name, sweep) for name in CONFIGS for sweep in trials.sweeps(CONFIGS[name])]


# What an example of a data set is and, where it is not the example, its target.
PICTURE = ((28, 28, 1), None)
SHAPES: dict[str, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = {
    "movielens": (None, None),
    "movielens_implicit": (None, None),
    "mlp_stack": ((3, 32), (96,)),
    "moving_digits": ((3, 8, 8, 1), (320,)),
    "sites": ((2, 32), None),
    "ucr_forecast": ((64, 1), (80,)),
}
NUMBERS = np.random.RandomState(0).randint(0, 256, (8192, 784), np.uint8)


@pytest.fixture
def small_data(monkeypatch):
    """Random numbers in place of every data set, as many as the config needs."""

    def data(group):
        grid, target = SHAPES.get(group["name"], PICTURE)
        if group["name"] == "activations":
            grid = None if isinstance(group["site"], str) else (len(group["site"]), 10)
            target = (24,) if group.get("target") else None
        shape = (int(np.prod(grid)),) if grid else (20,)
        spec = base.Spec(group["name"], group["split"], shape, grid, target)
        y = None if target is None else NUMBERS[:, : int(np.prod(target))]
        return base.Arrays(spec, NUMBERS[:, : shape[0]], y=y)

    monkeypatch.setattr(build, "data", data)


DUMPS = {
    path: importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "configs" / "dumps").glob("[!_b]*.py"))
}


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_a_dump_says_how_it_is_run_and_names_what_there_is(path):
    module = DUMPS[path]
    assert module.VARIANTS[0] == ""
    command = f"python -m experiments.dump --config={path.relative_to(ROOT)}"
    assert command in {line.removesuffix(" \\") for line in module.__doc__.splitlines()}
    with pytest.raises(ValueError, match="nonesuch"):
        module.get_config("nonesuch")
    for variant in module.VARIANTS:
        config = module.get_config(variant)
        if "files" not in config:
            assert config.lm.name in build.modules_in("lm")
            assert config.text.name in build.modules_in("text")
        assert config.sites
        assert config.store
        if variant:
            assert f'"{variant}"' in module.get_config.__doc__


@pytest.mark.parametrize("name", ["folder", "gguf", "transformers"])
def test_a_dump_of_own_files_asks_for_their_paths(name):
    config = importlib.import_module(f"configs.dumps.{name}").get_config()
    for build_it, group in ((build.language_model, config.lm), (build.texts, config.text)):
        with pytest.raises(errors.DataError, match=r"needs? --config\.(lm|text)\.path="):
            build_it(build.plain(group))


def test_there_are_configs():
    assert "configs.sparse_mnist" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_config_says_how_it_is_run(name):
    assert CONFIGS[name].VARIANTS[0] == ""
    path = MODULES[name].relative_to(ROOT)
    commands = CONFIGS[name].__doc__
    for variant in CONFIGS[name].VARIANTS[1:]:
        assert f'"{variant}"' in CONFIGS[name].get_config.__doc__, f"{variant} is not explained"
    assert f"python -m experiments.main --config={path}\n" in commands + "\n"


@pytest.mark.parametrize("name", MODULES)
def test_a_variant_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="nonesuch"):
        CONFIGS[name].get_config("nonesuch")


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_can_be_trained(name, variant):
    config = CONFIGS[name].get_config(variant).lock()
    before = config.to_json()
    task = build.task(config)
    assert config.to_json() == before
    assert checks.problems(task) == []
    state = loop.template(task)
    batch = jax.eval_shape(lambda: base.first(task.data, task.plan.batch_size))
    after, metrics = jax.eval_shape(step.make(task.method), state, batch)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert {f"loss/{term}" for term in config.loss} < metrics.keys()
    assert set(task.evaluations) == set(config.evals)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_two_configs_share_nothing(name, variant):
    first, second = (CONFIGS[name].get_config(variant) for _ in range(2))
    before = second.to_json()
    first.model.d_sae = -1
    first.loss.update(new=1.0)
    assert second.to_json() == before == CONFIGS[name].get_config(variant).to_json()


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(("name", "sweep"), SWEEPS)
def test_every_sweep_fits_its_config(name, sweep):
    module = CONFIGS[name]
    settings = trials.check(module.get_config(), trials.sweeps(module)[sweep]())
    assert len(settings) > 1
    for overrides in settings:
        config = module.get_config()
        config.lock().update_from_flattened_dict(overrides)
        build.task(config)


def test_configs_import_no_jax():
    code = f"import sys, {', '.join(MODULES)}; sys.exit(bool({{'jax', 'flax'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_config_is_read_with_a_default():
    """A key that may be absent is a key that may be misspelt: defaults belong into a signature."""
    found = []
    for folder in ("sae_jax", "experiments", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "get"
                    and (len(node.args) > 1 or node.keywords)
                    and any(
                        word in ast.unparse(node.func.value).lower()
                        for word in ("config", "group", "values", "kwargs", "knobs")
                    )
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


def _change(key, *value):
    """Returns what sets a key, given with dots, to a value, or deletes it."""

    def change(config):
        *groups, last = key.split(".")
        for group in groups:
            config = config[group]
        if last in config:
            del config[last]
        if value:
            config[last] = value[0]

    return change


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("mesh.dictionry", 1), 'config.mesh has no "dictionry".*mean "dictionary"'),
        (_change("model.name", "sea"), 'config.model: there is no "sea".*mean "sae"'),
        (_change("model.d_sea", 3), 'config.model has no "d_sea".*mean "d_sae"'),
        (_change("model.d_in", 3), 'config.model has no "d_in"'),
        (_change("model.activation.name", "rleu"), 'model.activation: .* "rleu".*mean "relu"'),
        (_change("model.activation.k", 3), 'model.activation has no "k"; it takes nothing'),
        (_change("model.decoder_norm", {"name": "cosin"}), 'decoder_norm: .*mean "cosine"'),
        (_change("loss.l1_decoder_nrom", 1.0), 'config.loss: .*mean "l1_decoder_norm"'),
        (_change("loss.kl", dict(weight=1.0, roh=0.1)), 'loss.kl has no "roh".*mean "rho"'),
        (_change("loss.kl", dict(wieght=1.0)), "loss.kl lacks weight"),
        (_change("loss.mse_mean", dict(weight=1.0, rho=0.1)), 'mse_mean has no "rho"'),
        (_change("loss.l1.valeu", 1.0), 'config.loss.l1 has no "valeu".*mean "value"'),
        (_change("loss.l1.name", "wramup"), 'config.loss.l1: .* "wramup".*mean "warmup"'),
        (_change("loss.l1.warmup", 1.5), "config.loss.l1: 1.5 is no duration"),
        (_change("loss.l1", "0.1"), "config.loss.l1='0.1' is neither a number nor"),
        (_change("normaliser.name", "mean_nrom"), 'config.normaliser: .*mean "mean_norm"'),
        (_change("normaliser", dict(name="mean_norm", centr=True)), 'normaliser .*mean "centre"'),
        (_change("normaliser", dict(nmae="mean")), "config.normaliser names nothing"),
        (_change("optim.name", "adma"), 'config.optim: there is no "adma".*mean "adam"'),
        (_change("optim.clip_nrom", 1.0), 'config.optim has no "clip_nrom".*mean "clip_norm"'),
        (_change("optim.constraint", "unit_nrom"), 'optim.constraint: .*mean "unit_norm"'),
        (_change("optim.learning_rate.decya", 0.1), 'optim.learning_rate .*mean "decay"'),
        (_change("optim.learning_rate.name", "trapezoidd"), 'learning_rate: .*mean "trapezoid"'),
        (_change("optim.learning_rat", 0.1), 'config.optim has no "learning_rat"'),
        (_change("evals.test.splt", "test"), 'config.evals.test has no "splt".*mean "split"'),
        (_change("evals.test.metrics", ("fuv",)), 'evals.test.metrics: .* "fuv".*mean "fvu"'),
        (_change("corruption.name", "gausian"), 'config.corruption: .*mean "gaussian"'),
        (_change("corruption", dict(name="gaussian")), "config.corruption lacks sigma"),
        (_change("corruption", dict(name="none", share=1)), 'corruption has no "share"'),
        (_change("corruption", dict(name="patch", size=99)), "corruption: patch: size=99"),
        (_change("evals.test.corruption", dict(name="salt")), "evals.test.corruption: "),
        (_change("evals.test.metrics", (dict(name="mse", k=1),)), 'metrics has no "k"'),
        (_change("loss.kl", dict(weight=1.0, rho=dict(name="linaer"))), 'kl.rho: .*mean "linear"'),
        (_change("num_steps", 0), "config.num_steps=0: it must be 1 or more"),
        (_change("batch_size", -1), "config.batch_size=-1: it must be 1 or more"),
        (_change("log_every", 0), "config.log_every=0: it must be 1 or more"),
    ],
)
def test_a_misspelt_key_or_value_is_named_with_what_was_meant(change, message):
    config = CONFIGS["configs.sparse_mnist"].get_config()
    change(config)
    with pytest.raises(errors.UserError, match=message) as error:
        build.task(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (dict(name="mnits", split="train"), 'config.data: there is no "mnits".*mean "mnist"'),
        (dict(name="mnist", split="train", foldr=""), 'data has no "foldr".*mean "folder"'),
        (dict(split="train"), "config.data names nothing"),
        (dict(name="mnist"), "config.data lacks split"),
    ],
)
def test_a_misspelt_data_set_is_named_with_what_was_meant(group, message):
    with pytest.raises(errors.UserError, match=message):
        build.data(group)


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("optim.learning_rate"), "config.optim lacks learning_rate"),
        (_change("optim.name"), "config.optim names nothing"),
        (_change("model.d_sae"), "config.model lacks d_sae"),
        (_change("model.activation"), "config.model lacks activation"),
        (_change("loss.l1.value"), "config.loss.l1 lacks value"),
        (_change("evals.test.split"), "config.evals.test lacks split"),
        (_change("evals.test.batch_size"), "config.evals.test lacks batch_size"),
        (_change("dead_after"), "config lacks dead_after"),
    ],
)
def test_what_a_group_lacks_is_named(change, message):
    config = CONFIGS["configs.sparse_mnist"].get_config()
    change(config)
    with pytest.raises(errors.UserError, match=message):
        build.task(config)


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("loss.l1", (0.1, 0.2)), "config.loss.l1="),
        (_change("optim.name", 3), "config.optim: "),
        (_change("checkpont_every", 3), 'config has no "checkpont_every".*mean "checkpoint_every"'),
        (_change("model.d_sae", 0), "d_sae=0"),
        (_change("eval_every", -1), "config.eval_every=-1"),
        (_change("seed", -1), "config.seed=-1"),
    ],
)
def test_a_value_that_cannot_be_is_named(change, message):
    config = CONFIGS["configs.sparse_mnist"].get_config()
    change(config)
    with pytest.raises(errors.UserError, match=message):
        build.task(config)


@pytest.mark.usefixtures("small_data")
def test_a_number_for_a_schedule_and_a_schedule_for_a_number():
    config = CONFIGS["configs.sparse_mnist"].get_config()
    config.loss = ml_collections.ConfigDict(
        dict(l1=2, mse_sum=dict(name="constant", value=0.25), kl=dict(weight=0.5, rho=0.1))
    )
    terms = build.task(config).method.terms
    assert (terms["l1"].weight, terms["kl"].weight) == (2.0, 0.5)
    assert terms["kl"].of.keywords == dict(rho=0.1)
    assert float(terms["mse_sum"].weight(jax.numpy.asarray(3, jax.numpy.int32))) == 0.25


@pytest.mark.usefixtures("small_data")
def test_knobs_of_terms_may_be_schedules_and_metrics_may_have_knobs():
    config = CONFIGS["configs.sparse_mnist"].get_config()
    config.loss.kl = dict(weight=1.0, rho=dict(name="linear", start=0.1, end=0.2))
    config.evals.test.metrics = ("mse", dict(name="fvu"))
    config.evals.test.corruption = dict(name="gaussian", sigma=0.5)
    task = build.task(config)
    rho = task.method.terms["kl"].of.keywords["rho"]
    assert float(rho(jax.numpy.asarray(900, jax.numpy.int32))) == pytest.approx(0.15)
    assert list(task.evaluations["test"].metrics) == ["mse", "fvu"]
    assert task.evaluations["test"].corruption.grid == (28, 28, 1)
    assert task.method.corruption.of is None


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (dict(name="sae", output="relu"), "config.model.output='relu' would be left out"),
        (dict(name="transcoder", skip="full"), "config.model.skip='full' would be left out"),
        (dict(name="mlp", hidden=(20,)), r"config.model.hidden=\(20,\) would be left out"),
    ],
)
def test_a_term_that_would_reconstruct_otherwise_than_the_model_is_refused(model, said):
    config = CONFIGS["configs.sparse_mnist"].get_config()
    activation = config.model.activation
    config.model = ml_collections.ConfigDict({**model, "d_sae": 16, "activation": activation})
    build.task(config)
    config.loss = ml_collections.ConfigDict(dict(matryoshka=1.0))
    with pytest.raises(errors.UserError, match=said):
        build.task(config)


def test_targets_that_are_no_examples_ask_for_a_model_that_can(monkeypatch):
    def data(group):
        spec = base.Spec("films", group["split"], (4,), None, (6,))
        return base.Arrays(spec, NUMBERS[:100, :4], y=NUMBERS[:100, :6])

    monkeypatch.setattr(build, "data", data)
    config = CONFIGS["configs.sparse_mnist"].get_config()
    with pytest.raises(errors.UserError, match='"sae" reconstructs its input; films asks for 6'):
        build.task(config)
    config.normaliser.name = "mean"
    with pytest.raises(errors.UserError, match="normaliser: the targets of films are no examples"):
        build.task(config)
    config.normaliser.name = "none"
    config.remedy = ml_collections.ConfigDict(dict(name="resample", every=1, until=2))
    with pytest.raises(errors.UserError, match="remedy: the targets of films are no examples"):
        build.task(config)
