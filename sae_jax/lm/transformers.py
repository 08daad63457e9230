"""Any causal language model of the package `transformers`, run by PyTorch.

For models that no other loader knows: the same interface, through hooks on the modules. The sites
are those of `base` for which a block has a module:

  resid_pre, resid_post   what goes into a block and comes out of it
  attn_out, mlp_out       what the attention and the MLP return; in blocks that normalise that
                          before they add it (Gemma 2), the normalised
  z, mlp_hidden           what their last matrix reads
  mlp_in                  what the MLP reads
  resid_mid               what goes into a block plus attn_out; not in blocks where attention and
                          MLP stand side by side, or weigh what they add

Which ones there are, and how wide, one token tells when the model is loaded. Edits are functions of
JAX as everywhere; activations go there and back through the memory of the host.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import inspect
from pathlib import Path
from typing import Any
import zlib

import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.lm import base, extras

# From kind to modules of a block, the first found counts; whether their input or output is meant.
_MODULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "resid_pre": ("input", ("",)),
    "z": (
        "input",
        (
            "self_attn.o_proj",
            "self_attn.out_proj",
            "self_attn.dense",
            "attn.c_proj",
            "attn.out_proj",
            "attn.attention.out_proj",
            "attention.dense",
            "self_attention.dense",
        ),
    ),
    "attn_out": ("output", ("self_attn", "attn", "attention", "self_attention")),
    "resid_mid": ("sum", ("self_attn", "attn", "attention", "self_attention")),
    "mlp_in": ("input", ("mlp",)),
    "mlp_hidden": (
        "input",
        ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.fc_out"),
    ),
    "mlp_out": ("output", ("mlp",)),
    "resid_post": ("output", ("",)),
}
_NORMS_AFTER: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "attn_out": ("output", ("post_attention_layernorm",)),
    "mlp_out": ("output", ("post_feedforward_layernorm",)),
    "resid_mid": ("sum", ("post_attention_layernorm",)),
}
_NORMS_BETWEEN = {"pre_feedforward_layernorm", "post_attention_layernorm", "ln_2"}


class _Stop(Exception):
    """All that was wanted has been read."""


@dataclasses.dataclass(frozen=True)
class _Hook:
    """Where an activation is.

    Attributes:
      module: of PyTorch.
      side: "input" or "output" of the module, or "sum" of its output and the input of its block.
      block: that it belongs to.
    """

    module: Any
    side: str
    block: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Torch(base.LanguageModel):
    """A model of the package.

    Attributes:
      model: the PyTorch module.
      hooks: where each site is.
      found: numbers at each site.
      dtype: "float32" or "bfloat16", of what is captured.
    """

    model: Any = dataclasses.field(repr=False)
    hooks: Mapping[str, _Hook] = dataclasses.field(repr=False)
    found: Mapping[str, int] = dataclasses.field(repr=False)
    dtype: str

    @property
    def widths(self) -> Mapping[str, int]:
        """Numbers at each site."""
        return self.found

    def fingerprint(self) -> str:
        """Returns a checksum of all weights."""
        found = 0
        for name, tensor in self.model.state_dict().items():
            found = zlib.crc32(name.encode() + _numpy(tensor).tobytes(), found)
        return f"{found:08x}"

    def _run(
        self,
        ids: base.Ints,
        mask: base.Ints,
        capture: tuple[str, ...],
        edits: base.Edits,
        logits: bool,
    ) -> base.Run:
        captured: dict[str, Any] = {}
        place = base.place(mask)

        def touch(site: str, value: Any) -> Any:
            if site in edits:
                changed = edits[site](jnp.asarray(_numpy(value), self.dtype), place)
                value = value.new_tensor(np.array(changed, np.float32))
            if site in capture:
                captured[site] = jnp.asarray(_numpy(value), self.dtype)
            if not logits and len(captured) == len(capture):
                raise _Stop
            return value

        # In the order of the sites, as several may be at one module.
        hooks = {site: hook for site, hook in self.hooks.items() if site in (*capture, *edits)}
        out = _forward(self.model, np.asarray(ids), np.asarray(mask), hooks, touch)
        scores = jnp.asarray(_numpy(out.logits)) if logits else None
        return base.Run(scores, captured)


def load(path: str, dtype: str = "float32", device: str = "cpu") -> Torch:
    """Returns a model of the Hugging Face hub, or of a folder.

    Args:
      path: a name on the hub or a folder, as `AutoModelForCausalLM.from_pretrained` takes it.
      dtype: "float32" or "bfloat16", to compute in.
      device: of PyTorch.

    Raises:
      DataError: there is no such model, or it cannot be read or is not supported.
      UserError: there is no such device, or no room on it.
    """
    if not path:
        raise errors.DataError(
            "the language model transformers needs --config.lm.path=NAME of the hub, or a folder"
        )
    folder = Path(path).expanduser()
    # That of a folder stays when it is moved.
    path, name = (str(folder), folder.resolve().name) if folder.is_dir() else (path, path)
    if dtype not in ("float32", "bfloat16"):
        raise errors.UserError(f'dtype={dtype!r}: it must be "float32" or "bfloat16"')
    transformers, torch = (extras.library(package, "hf") for package in ("transformers", "torch"))
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise errors.DataError(f"{path}: {' '.join(str(error).split())}") from error
    try:
        model = model.eval().requires_grad_(False).to(device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise errors.UserError(
            f"config.lm.device={device!r}: {' '.join(str(error).split())}: choose one that PyTorch "
            'has here and that has room, as "cpu"'
        ) from error
    sizes = model.config.get_text_config()
    hooks = _sites(model, sizes)
    widths = _widths(model, hooks)
    return Torch(
        name,
        sizes.num_hidden_layers,
        sizes.hidden_size,
        sizes.vocab_size,
        getattr(sizes, "max_position_embeddings", None) or np.iinfo(np.int32).max,
        Tokens(tokenizer),
        model,
        hooks,
        widths,
        dtype,
    )


def _sites(model: Any, sizes: Any) -> dict[str, _Hook]:
    """Returns the modules at which sites are, by site, in the order of blocks."""
    torch = extras.library("torch", "hf")
    n_layers = sizes.num_hidden_layers
    blocks = next(
        (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers),
        None,
    )
    if blocks is None:
        raise errors.DataError(
            f"{type(model).__name__} is not supported: it has no list of {n_layers} blocks"
        )
    found = {}
    for i, block in enumerate(blocks):
        modules = dict(block.named_modules())
        places = dict(_MODULES)
        if "post_feedforward_layernorm" in modules:
            places |= _NORMS_AFTER
        if getattr(sizes, "use_parallel_residual", False) or not _NORMS_BETWEEN & set(modules):
            del places["resid_mid"]
        for kind, (side, names) in places.items():
            for name in names:
                if name in modules:
                    found[f"{kind}.{i}"] = _Hook(modules[name], side, block)
                    break
    return found


def _widths(model: Any, hooks: Mapping[str, _Hook]) -> dict[str, int]:
    """Returns numbers at each site; what one token does not reach is no site."""
    seen: dict[str, np.ndarray] = {}

    def touch(site: str, value: Any) -> Any:
        seen[site] = _numpy(value)
        return value

    _forward(model, np.zeros((1, 1), np.int32), np.ones((1, 1), bool), hooks, touch)
    for site in [site for site in seen if site.startswith("resid_mid.")]:
        block = base.split(site)[1]
        out, post = seen.get(f"mlp_out.{block}"), seen[f"resid_post.{block}"]
        if out is None or np.linalg.norm(seen[site] + out - post) > 0.01 * np.linalg.norm(post):
            del seen[site]
    return {site: seen[site].shape[2] for site in hooks if site in seen and seen[site].ndim == 3}


def _forward(
    model: Any,
    ids: np.ndarray,
    mask: np.ndarray,
    hooks: Mapping[str, _Hook],
    touch: Callable[[str, Any], Any],
) -> Any:
    """Runs the module with hooks; returns None if `touch` stopped it."""
    torch = extras.library("torch", "hf")
    with contextlib.ExitStack() as stack, torch.no_grad():
        for site, hook in hooks.items():
            for handle in _attach(site, hook, touch):
                stack.callback(handle.remove)
        arguments = {
            "input_ids": torch.tensor(ids, dtype=torch.long, device=model.device),
            "attention_mask": torch.tensor(mask, dtype=torch.long, device=model.device),
            "position_ids": torch.tensor(
                np.maximum(np.cumsum(mask, axis=1) - 1, 0), dtype=torch.long, device=model.device
            ),
        }
        if "position_ids" not in inspect.signature(model.forward).parameters:
            del arguments["position_ids"]
        with contextlib.suppress(_Stop):
            return model(**arguments, use_cache=False)
    return None


def _attach(site: str, hook: _Hook, touch: Callable[[str, Any], Any]) -> list[Any]:
    """Returns handles of hooks that have `touch` see the activation, and maybe change it."""

    def before(module: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        del module
        if args:
            return (touch(site, args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": touch(site, kwargs["hidden_states"])}

    read: list[Any] = []

    def keep(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        del module
        read[:] = [args[0] if args else kwargs["hidden_states"]]

    def after(module: Any, args: tuple, output: Any) -> Any:
        del module, args
        value, *others = output if isinstance(output, tuple) else (output,)
        if hook.side == "sum":
            total = value + read[0]
            changed = touch(site, total)
            value = value if changed is total else changed - read[0]
        else:
            value = touch(site, value)
        return (value, *others) if isinstance(output, tuple) else value

    if hook.side == "input":
        return [hook.module.register_forward_pre_hook(before, with_kwargs=True)]
    handles = [hook.module.register_forward_hook(after)]
    if hook.side == "sum":
        handles.append(hook.block.register_forward_pre_hook(keep, with_kwargs=True))
    return handles


def _numpy(tensor: Any) -> np.ndarray:
    """Returns a tensor as float32 on the host."""
    return tensor.detach().float().cpu().numpy()


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """A tokenizer of the package.

    Attributes:
      tokenizer: what `AutoTokenizer` gave.
    """

    tokenizer: Any

    @property
    def bos(self) -> int | None:
        """Id of the token that begins a text, or None."""
        return self.tokenizer.bos_token_id

    @property
    def eos(self) -> int | None:
        """Id of the token that ends one, or None."""
        return self.tokenizer.eos_token_id

    @property
    def pad(self) -> int | None:
        """Id of the token that fills up a row, or None."""
        return self.tokenizer.pad_token_id

    @property
    def starts_with_bos(self) -> bool:
        """Whether the tokenizer puts `bos` before a text."""
        return self.bos is not None and self.tokenizer("").input_ids[:1] == [self.bos]

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without `bos` and `eos`."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids."""
        return self.tokenizer.decode([int(i) for i in ids], clean_up_tokenization_spaces=False)

    def token_text(self, token: int) -> str:
        """Returns one token as it stands in a text, with the space before it."""
        piece = self.tokenizer.convert_ids_to_tokens(int(token)) or ""
        return piece.replace("▁", " ") if "▁" in piece else self.decode([token])
