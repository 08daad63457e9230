"""Pre-activations to codes, one file each, found by file name."""
