"""Published settings, one file each; a docstring names the paper, its settings and its numbers."""
