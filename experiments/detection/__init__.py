"""What `experiments.detect` is made of: new files, what is normal, and what is told of both."""
