"""SmolLM2-135M reads the leads of Wikipedia articles: a real language model, on any machine.

python -m experiments.dump --config=configs/dumps/smollm2.py
python -m experiments.dump --config=configs/dumps/smollm2.py:debug

30 blocks of width 576, read in the middle, after block 14; 1.1 million tokens, 1.3 GB. The model is
fetched once (93 MB, Apache-2.0).
"""

import ml_collections

from configs.dumps import base

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few documents."""
    if arg not in VARIANTS:
        raise ValueError(f'smollm2 has no variant "{arg}": it has debug')
    config = base.get_config()
    config.store = f"stores/smollm2{'-debug' if arg else ''}"
    config.lm.name = "smollm2"
    config.text.name = "wikipedia_leads"
    config.sites = ("resid_post.14",)
    config.documents = 40 if arg else 0
    config.batch_size = 16
    return config
