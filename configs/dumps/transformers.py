r"""Any causal model of Hugging Face, run by PyTorch (extra `hf`), reads texts of yours.

python -m experiments.dump --config=configs/dumps/transformers.py \
  --config.lm.path=EleutherAI/pythia-70m --config.text.path=~/texts \
  --config.sites='("resid_post.3",)' --store=stores/mine

The path is a name on the hub, or a folder. Llama models are faster by configs/dumps/folder.py.
Texts are .txt files, a document each, or .jsonl files, a document a line. Then train on it:

python -m experiments.main --config=configs/llm_topk.py --config.data.store=stores/mine \
  --config.data.recipe=stores/mine/recipe.json --config.data.site=resid_post.3
"""

import ml_collections

from configs.dumps import base

VARIANTS = ("", "wikipedia")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "wikipedia" for the leads of its articles as texts."""
    if arg not in VARIANTS:
        raise ValueError(f'transformers has no variant "{arg}": it has wikipedia')
    config = base.of_paths("transformers", own_texts=not arg)
    config.lm.device = "cpu"  # Of PyTorch, as in "cuda".
    return config
