"""What every dump of a language model's activations has; a config says what is different."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the keys that all dumps share, with the defaults of those that need one."""
    config = ml_collections.ConfigDict()
    config.store = ""  # The folder that is written.
    config.lm = ml_collections.ConfigDict()
    config.text = ml_collections.ConfigDict()
    config.sites = ()  # Of the language model.
    config.length = 128  # Tokens of the longest sequence.
    config.documents = 0  # How many are read; 0 for all.
    config.held_out = 0.05  # Share of documents that are "valid", and again that are "test".
    config.seed = 0  # Of the order of documents, and so of the splits.
    config.dtype = "bfloat16"  # Or float32, float16, int8 with a scale for each row.
    config.outlier = 10.0  # Times the median norm, above which a row is left out; 0 for none.
    config.shard_bytes = 2**27
    config.batch_size = 64  # Sequences that the model reads at once.
    return config
