"""Experiments: `get_config(arg="")` and the sweeps of each; they import no jax."""
