r"""Activations that another program left in files, made a store of.

python -m experiments.dump --config=configs/dumps/arrays.py \
  --config.files='("acts/*.npy",)' --config.sites='("resid_post.6",)' --config.store=stores/mine

.npy, .npz, .safetensors and HDF5; `[rows, width]` or `[sequences, length, width]`. Then train on
it, by any config of activations:

python -m experiments.main --config=configs/llm_topk.py \
  --config.data.store=stores/mine --config.data.site=resid_post.6
"""

import ml_collections

from configs.dumps import base

VARIANTS = ("",)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; it has no variants."""
    if arg not in VARIANTS:
        raise ValueError(f'arrays has no variant "{arg}"')
    config = base.of_store()
    config.store = "stores/arrays"
    config.files = ("",)  # A pattern for each site; "acts/*.npz:resid" names an array in files.
    config.sites = ("x",)  # What the store calls them.
    return config
