r"""A Llama model in a folder of yours reads texts of yours.

python -m experiments.dump --config=configs/dumps/folder.py \
  --config.lm.path=~/models/tinyllama --config.text.path=~/texts \
  --config.sites='("resid_post.6",)' --store=stores/mine

The folder is as Hugging Face writes it: config.json, safetensors, tokenizer.json. Texts are .txt
files, a document each, or .jsonl files, a document a line. Then train on it:

python -m experiments.main --config=configs/llm_topk.py --config.data.store=stores/mine \
  --config.data.recipe=stores/mine/recipe.json --config.data.site=resid_post.6
"""

import ml_collections

from configs.dumps import base

VARIANTS = ("", "wikipedia")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "wikipedia" for the leads of its articles as texts."""
    if arg not in VARIANTS:
        raise ValueError(f'folder has no variant "{arg}": it has wikipedia')
    return base.of_paths("folder", own_texts=not arg)
