"""Language models, one loader a file, found by file name."""
