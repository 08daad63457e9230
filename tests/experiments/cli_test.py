"""What programs say of flags that name nothing."""

import functools
import operator
from pathlib import Path
import subprocess
import sys

import pytest

from configs import sparse_mnist
from experiments import cli

ROOT = Path(__file__).resolve().parent.parent.parent

# A program that fails while writes, as orbax has them, wait for their turn.
_FAILING = """
from experiments import cli
from sae_jax import errors

waiting = []


async def write():
    pass


def main():
    waiting.append(write())
    raise errors.UserError("no room")


cli.run(main)
"""


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model.d_sea", 'no key "d_sea". Did you mean "d_sae"'),
        ("model.compute", 'no key "compute". Flags change keys that it has, its file adds others'),
        ("modl.d_sae", 'no key "modl". Did you mean "model"'),
    ],
)
def test_a_key_that_is_not_there_is_named(key, said):
    config = sparse_mnist.get_config()
    *groups, name = key.split(".")
    with pytest.raises((AttributeError, KeyError)) as caught:  # As of flags, which read it so.
        getattr(functools.reduce(operator.getitem, groups, config), name)
    assert said in cli.flag_error(caught.value)


def test_what_a_config_file_does_wrong_is_said_as_it_is():
    assert (
        cli.flag_error(AttributeError("module x has no y")) == "AttributeError: module x has no y"
    )
    assert cli.flag_error(KeyError("some", "more")).startswith("KeyError")


def test_nothing_is_said_of_writes_that_a_failed_save_leaves_waiting():
    result = subprocess.run(
        [sys.executable, "-c", _FAILING], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (2, "error: no room\n")
