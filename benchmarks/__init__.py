"""Measurements: each prints ratios or verdicts of one run, `python -m benchmarks.<name>`."""
