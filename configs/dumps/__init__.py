"""What `experiments.dump` writes: a language model, texts, and where it is read."""
