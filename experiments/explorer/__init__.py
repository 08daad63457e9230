"""The page that `experiments.explore` writes."""
