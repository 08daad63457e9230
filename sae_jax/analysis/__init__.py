"""What is asked of finished runs: probes, novelty, tables of their codes."""
