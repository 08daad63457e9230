"""Optimisers, constraints and schedules, found by function name."""
