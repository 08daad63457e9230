"""Peers: what they can train, and where their interpreters are."""

from absl import flags

from sae_jax import errors

_MOST = ("topk", "batch_topk", "relu", "jumprelu")
VARIANTS = (*_MOST, "group_max")
PEERS = {  # And the variants that each has.
    "sae_lens": _MOST,
    "dictionary_learning": _MOST,
    "sparsify": ("topk", "group_max"),
}

_AGAINST = flags.DEFINE_list("against", [], f"Peers: {', '.join(PEERS)}.")
PYTHON = flags.DEFINE_list(
    "peers", [], "The Python in which they are installed: a path, or name=path for each."
)


def interpreters() -> dict[str, str]:
    """Returns the peers to measure, by name, and the interpreter of each.

    Raises:
      UserError: one is not known, or has none.
    """
    named = dict(word.split("=", 1) for word in PYTHON.value if "=" in word)
    everywhere = [word for word in PYTHON.value if "=" not in word]
    found = {}
    for name in _AGAINST.value:
        if name not in PEERS:
            raise errors.UserError(f"--against={name}: choose from {', '.join(PEERS)}")
        path = named.get(name, everywhere[0] if everywhere else "")
        if not path:
            raise errors.UserError(
                f"--against={name}: in which environment is it installed? Add "
                "--peers=/path/to/env/bin/python"
            )
        found[name] = path
    return found
