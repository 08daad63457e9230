"""Named per-example loss terms, one file a family, found by function name."""
