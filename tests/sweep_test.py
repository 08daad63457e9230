import subprocess
import sys

import pytest

from sae_jax import sweep


def test_grid_is_one_trial_a_value():
    assert sweep.grid("seed", 0, 1) == [{"seed": 0}, {"seed": 1}]
    assert sweep.grid("seed") == []


def test_product_varies_the_last_sweep_fastest():
    assert sweep.product(sweep.grid("k", 4, 8), sweep.grid("seed", 0, 1)) == [
        {"k": 4, "seed": 0},
        {"k": 4, "seed": 1},
        {"k": 8, "seed": 0},
        {"k": 8, "seed": 1},
    ]
    assert sweep.product() == [{}]


def test_zipped_goes_side_by_side_and_takes_generators():
    widths = ({"width": width} for width in (16, 32))
    zipped = sweep.zipped(widths, sweep.grid("lr", 0.1, 0.2))
    assert zipped == [{"width": 16, "lr": 0.1}, {"width": 32, "lr": 0.2}]


def test_zipped_refuses_different_lengths():
    with pytest.raises(ValueError, match=r"one length, these have \[1, 2\]"):
        sweep.zipped(sweep.grid("a", 1), sweep.grid("b", 1, 2))


def test_chain_joins():
    assert sweep.chain(sweep.grid("a", 1), sweep.grid("b", 2)) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("join", [sweep.product, sweep.zipped])
def test_a_key_swept_twice_is_refused(join):
    with pytest.raises(ValueError, match="swept twice: seed"):
        join(sweep.grid("seed", 0), sweep.grid("seed", 1))


def test_the_inputs_stay_as_they_are():
    seeds = sweep.grid("seed", 0, 1)
    sweep.product(sweep.grid("k", 4), seeds)
    assert seeds == [{"seed": 0}, {"seed": 1}]


@pytest.mark.parametrize("module", ["sae_jax.sweep", "launch.local", "launch.table"])
def test_jax_is_not_imported(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
