"""Activations on disk: written once, by one process or many, and read in any order many times.

  FOLDER/plan.json                  what is to be written: sites, type, shards, splits, and of what
  FOLDER/sequences.safetensors      the tokens that rows are of, where they are of tokens
  FOLDER/shards/00000.safetensors   rows, in the order of the sequences
  FOLDER/shards/00000.json          size and CRC-32 of that shard, written when it is whole
  FOLDER/excluded.npy               rows that no training sees: special tokens and outliers
  FOLDER/statistics.safetensors     mean and mean square of each site
  FOLDER/manifest.json              the rest, written last: a store without it is not finished
  FOLDER/recipe.json                the config that `experiments.dump` wrote it by, flags and all;
                                    of arrays there is none
  FOLDER/checked.json               files whose checksums were right: checksum, size and the times
                                    of the last change of content and of the file itself, so that a
                                    copy of the store is compared anew; not damaged ones

A shard is a function of the plan and its number. So a writer that was killed goes on with the
shards that are missing, and many writers share them out by number; what they leave is the same to
the byte.
"""
