"""`init` and `forward` of any model as one program: op by op, each operation would be one."""

import jax

from sae_jax.models import base

init = jax.jit(base.init, static_argnums=0)
forward = jax.jit(base.forward, static_argnums=0)
