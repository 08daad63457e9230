"""The architectures and activations that contract and golden tests go through: a row for each.

A new architecture needs a row of `MODELS`, a new activation that takes arguments one of
`ACTIVATIONS`.
"""

import importlib
from types import ModuleType

from experiments import build

D_IN, D_SAE = 8, 32

# Variant: (file, arguments besides d_in, d_sae, grid and activation, number of parameters).
MODELS = {
    "sae": ("sae", {}, 2 * 8 * 32 + 32 + 8),
    "sae_tied": ("sae", dict(tied=True), 8 * 32 + 32 + 8),
    "sae_aligned": ("sae", dict(aligned=True, decoder_norm=0.5), 2 * 8 * 32 + 32 + 8),
    "sae_rescaled": ("sae", dict(rescale=True), 2 * 8 * 32 + 32 + 8),
    "sae_relu_output": ("sae", dict(pre_bias=False, output="relu"), 2 * 8 * 32 + 32 + 8),
    "sae_ng": (
        "sae",
        dict(weights="uniform", output="sigmoid", pre_bias=False, bias="mean"),
        2 * 8 * 32 + 32 + 8,
    ),
    "matching_pursuit": ("matching_pursuit", dict(k=4), 8 * 32 + 8),
    "gated": ("gated", {}, 2 * 8 * 32 + 3 * 32 + 8),
    "lista": ("lista", dict(learn_eta=True), 2 * 8 * 32 + 32 + 8 + 1),
    "switch": ("switch", dict(experts=4, k=4), 2 * 8 * 32 + 8 + 8 * 4 + 8),
    "kron": ("kron", dict(heads=2, m=4), 8 * 2 * (4 + 4) + 32 * 8 + 8),
    "archetypal": ("archetypal", dict(points=16), 8 * 32 + 32 + 32 * (16 + 8) + 1 + 8),
    "transcoder_skip": ("transcoder", dict(skip="full"), 2 * 8 * 32 + 32 + 8 + 8 * 8),
    "crosscoder": (
        "crosscoder",
        dict(rescale=True, shared=0.25, decoder_norm=1.0),
        2 * 8 * 32 + 32 + 8,
    ),
    "clt": ("clt", {}, 4 * 32 + 32 + (4 + 8) * 16 + 8),
    "mlp": ("mlp", {}, 2 * 8 * 32 + 32 + 8),
    "mlp_deep": (
        "mlp",
        dict(hidden=(16, 12), nonlinearity="elu", output="sigmoid", bias="mean"),
        2 * (8 * 16 + 16 * 12 + 12 * 32) + 16 + 12 + 32 + 12 + 16 + 8,
    ),
    "mlp_tied": (
        "mlp",
        dict(hidden=(16,), nonlinearity="relu", tied=True),
        8 * 16 + 16 * 32 + 16 + 32 + 16 + 8,
    ),
    "recurrent": (
        "recurrent",
        dict(hidden=6),
        (2 * 18 + 6 * 18 + 18) + 6 * 32 + 32 + 32 * 6 + 6 + (2 * 18 + 6 * 18 + 18 + 6 * 2 + 2),
    ),
    "vae": (
        "vae",
        dict(hidden=(16,), samples=2, bias="zeros"),
        (8 * 16 + 16) + 2 * (16 * 32 + 32) + (32 * 16 + 16) + (16 * 8 + 8),
    ),
    "vq": (
        "vq",
        dict(width=3, channels=(4,)),
        (16 * 4 + 4)
        + 2 * ((9 * 4 * 4 + 4) + (4 * 4 + 4))
        + (4 * 3 + 3)
        + 32 * 3
        + (3 * 4 + 4)
        + (16 * 4 + 1),
    ),
    "vq_average": (
        "vq",
        dict(width=3, channels=(4,), blocks=0, update="average", output="sigmoid"),
        (16 * 4 + 4) + (4 * 3 + 3) + (3 * 4 + 4) + (16 * 4 + 1),
    ),
    "conv": (
        "conv",
        dict(channels=(4, 6), kernel=3),
        (9 * 4 + 4) + (9 * 4 * 6 + 6) + (6 * 32 + 32) + (32 * 6 + 6) + (9 * 4 * 6 + 4) + 9 * 4 + 1,
    ),
    "conv_pooled": (
        "conv",
        dict(d_sae=0, channels=(16,), kernel=3, pool="max"),
        (9 * 16 + 16) + (9 * 16 + 1),
    ),
    "conv_wta": (
        "conv_wta",
        dict(channels=(4, 16), kernel=3, decoder_kernel=5, share=0.25, pool=2, pool_stride=2),
        (9 * 4 + 4) + (9 * 4 * 16 + 16) + (25 * 16 + 1),
    ),
}
# Variant: (file, arguments); a file that is not here takes none.
ACTIVATIONS: dict[str, tuple[str, dict]] = {
    "abs_topk": ("abs_topk", dict(k=8, form="dense")),
    "abs_topk_sparse": ("abs_topk", dict(k=8, form="sparse")),
    "batch_topk": ("batch_topk", dict(k=8)),
    "group_max": ("group_max", dict(k=8)),
    "jumprelu": ("jumprelu", dict(start=0.1, bandwidth=0.5)),
    "jumprelu_to_input": ("jumprelu", dict(start=0.1, bandwidth=0.5, to_input=True)),
    "lifetime": ("lifetime", dict(share=0.25)),
    "prolu_relu": ("prolu", dict(gradient="relu")),
    "prolu_ste": ("prolu", dict(gradient="ste")),
    "topk": ("topk", dict(k=8, form="dense")),
    "topk_sparse": ("topk", dict(k=8, form="sparse")),
}
# What an example of D_IN numbers is, if no 2 x 4 picture.
GRIDS: dict[str, tuple[int, ...]] = {"clt": (2, 4), "crosscoder": (2, 4), "recurrent": (4, 2)}
# Latents that one parameter counts, where those of several layers are kept apart.
LATENTS = {"clt": D_SAE // 2}
# Terms without which a parameter is moved by nothing.
TERMS: dict[str, tuple[str, ...]] = {
    "gated": ("gate_l1", "gate_reconstruction"),
    "vq": ("codebook", "commitment"),
}


def module(variant: str) -> ModuleType:
    """Returns the file of a variant."""
    return importlib.import_module(f"sae_jax.models.{MODELS[variant][0]}")


def model(variant: str, activation: str | None):
    """Returns the model; `activation` is None for one that takes none."""
    architecture, arguments = module(variant).Model, MODELS[variant][1]
    offered = dict(d_in=D_IN, d_sae=D_SAE, d_out=D_IN, grid=GRIDS.get(variant, (2, 4, 1)))
    given = {key: value for key, value in offered.items() if key in build._fields(architecture)}
    if activation is not None:
        file, knobs = ACTIVATIONS.get(activation, (activation, {}))
        given["activation"] = importlib.import_module(f"sae_jax.activations.{file}").Activation(
            **knobs
        )
    return architecture(**{**given, **arguments})


def size(variant: str, activation: str | None) -> int:
    """Returns the number of parameters."""
    thresholds = D_SAE if (activation or "").startswith(("jumprelu", "prolu")) else 0
    return MODELS[variant][2] + thresholds


def activations() -> list[str]:
    """Every file of activations, or its variants."""
    files = {file for file, _ in ACTIVATIONS.values()}
    return sorted({*ACTIVATIONS, *(set(build.modules_in("activations")) - files)})


def cases() -> list[tuple[str, str | None]]:
    """The simplest architecture with every activation, and the others with one, or with none."""
    simplest = [("sae", activation) for activation in activations()]
    takes = {v: "activation" in build._fields(module(v).Model) for v in MODELS if v != "sae"}
    return simplest + [(v, "relu" if taken else None) for v, taken in takes.items()]
