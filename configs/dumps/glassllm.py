"""A language model of 850,000 parameters reads Wikipedia: in a minute, on anything.

python -m experiments.dump --config=configs/dumps/glassllm.py
python -m experiments.dump --config=configs/dumps/glassllm.py:debug

glassllm (MIT) has 4 blocks of width 128 and read Lewis Carroll; it comes in the extra `llm`. The
texts are the leads of Wikipedia articles.
"""

import ml_collections

from configs.dumps import base

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few documents."""
    if arg not in VARIANTS:
        raise ValueError(f'glassllm has no variant "{arg}": it has debug')
    config = base.get_config()
    config.store = f"stores/glassllm{'-debug' if arg else ''}"
    config.lm.name = "glassllm"
    config.text.name = "wikipedia_leads"
    config.sites = ("resid_post.1", "resid_post.2", "mlp_in.2", "mlp_out.2")
    config.documents = 40 if arg else 2000
    return config
