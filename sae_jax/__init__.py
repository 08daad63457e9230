"""Autoencoders of every kind in JAX: models, losses, metrics, data, and how they are trained."""

__version__ = "0.1.0"
