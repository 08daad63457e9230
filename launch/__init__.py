"""Sweeps on machines: each back end only decides where the command line of a trial runs."""
