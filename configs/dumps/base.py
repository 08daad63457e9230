"""What every dump of activations has; a config says what is different."""

import ml_collections


def of_store() -> ml_collections.ConfigDict:
    """Returns the keys that say how a store is written, of whatever it is."""
    config = ml_collections.ConfigDict()
    config.store = ""  # The folder that is written.
    config.sites = ()  # What the rows are of: sites of the language model.
    config.held_out = 0.05  # Share that is "valid", and again that is "test".
    config.dtype = "bfloat16"  # Or float32, float16, int8 with a scale for each row.
    config.outlier = 10.0  # Times the median norm, above which a row is left out; 0 for none.
    config.shard_bytes = 2**27
    return config


def get_config() -> ml_collections.ConfigDict:
    """Returns the keys of all dumps of a language model, with the defaults of those that need one.

    Whole documents are held out.
    """
    config = of_store()
    config.lm = ml_collections.ConfigDict()
    config.text = ml_collections.ConfigDict()
    config.length = 128  # Tokens of the longest sequence.
    config.documents = 0  # How many are read; 0 for all.
    config.seed = 0  # Of the order of documents, and so of the splits.
    config.batch_size = 64  # Sequences that the model reads at once.
    return config


def of_paths(lm: str, own_texts: bool) -> ml_collections.ConfigDict:
    """Returns the dump of a language model and of texts that flags give the paths of.

    Args:
      lm: its loader, a file of sae_jax/lm.
      own_texts: whether texts are files, or else the leads of Wikipedia articles.
    """
    config = get_config()
    config.store = f"stores/{lm}"
    config.lm.update(name=lm, path="", dtype="float32")
    config.text.name = "files" if own_texts else "wikipedia_leads"
    if own_texts:
        config.text.update(path="", text_key="text", label_key="label")
    config.sites = ("resid_post.0",)
    config.batch_size = 16
    return config
