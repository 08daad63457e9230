"""A number of which every member of an ensemble has its own value.

`PerMember((0.1, 0.3))` stands where a component expects a number, so that one program serves all
members: where it meets an array, it is the value of the member that is looked at, which is an
argument of the program.

  with another number   for each member, in float64 or int64, as Python would do it
  with an array         an array, of the member that `member` names
  in a decision         what all members decide alike; `DiffersError` where they do not

It is no float and no index: what needs one, such as a shape, refuses it. So no member is ever
trained with the number of another.
"""

from collections.abc import Callable, Iterator
import contextlib
import contextvars
import operator
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

_NUMBERS = (int, float, np.number)
_MEMBER: contextvars.ContextVar[Any] = contextvars.ContextVar("member")


class DiffersError(TypeError):
    """Members would decide differently, and one program cannot do both."""


@contextlib.contextmanager
def member(index: Any) -> Iterator[None]:
    """Says which member is looked at: an integer, or one that is traced."""
    token = _MEMBER.set(index)
    try:
        yield
    finally:
        _MEMBER.reset(token)


class Program:
    """What `jit` returns."""

    def __init__(self, alone: Any, joined: Any) -> None:
        """Takes the program without a member, and that which takes one first. Both jitted."""
        self._alone, self._joined = alone, joined

    def __call__(self, *args: Any) -> Any:
        """Runs the program, for the member that is looked at."""
        index = _MEMBER.get(None)
        return self._alone(*args) if index is None else self._joined(np.uint32(index), *args)

    def lower(self, *args: Any) -> Any:
        """Returns the program without a member, lowered."""
        return self._alone.lower(*args)


def jit(function: Callable[..., Any], **kwargs: Any) -> Program:
    """Returns `jax.jit(function, **kwargs)`, which takes the member that is looked at when called.

    So it is compiled once for all members. Where none is looked at, it is `jax.jit` as it is.
    """

    def of(index: Any, *args: Any) -> Any:
        with member(index):
            return function(*args)

    return Program(jax.jit(function, **kwargs), jax.jit(of, **kwargs))


def most(number: Any) -> Any:
    """Returns a number, or the largest that a member has."""
    return number.values.max().item() if isinstance(number, PerMember) else number


def within(tree: Any) -> bool:
    """Returns whether members have numbers of their own somewhere in `tree`."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, PerMember))
    return any(isinstance(leaf, PerMember) for leaf in leaves)


def _arithmetic(of: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the methods for `self of other` and for `other of self`."""

    def forward(self: "PerMember", other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return PerMember(of(self.values, other))
        if isinstance(other, PerMember):
            return PerMember(of(self.values, other.values))
        return of(self.__jax_array__(), other)

    def turned(self: "PerMember", other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return PerMember(of(other, self.values))
        return of(other, self.__jax_array__())

    return forward, turned


def _comparison(of: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def method(self: "PerMember", other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return self._agreed(of(self.values, other))
        if isinstance(other, PerMember):
            return self._agreed(of(self.values, other.values))
        return of(self.__jax_array__(), other) if hasattr(other, "dtype") else NotImplemented

    return method


class PerMember:
    """Numbers, one a member: see above.

    Attributes:
      values: float64 or int64 `[members]`.
    """

    __array_ufunc__ = None  # NumPy's arrays leave arithmetic to this class.
    __hash__ = None  # type: ignore[assignment]  # What was kept for one number would serve another.

    def __init__(self, values: Any) -> None:
        """Takes as many numbers as there are members, all of them integers or all floats."""
        self.values = np.asarray(values)
        self.values = self.values.astype(np.int64 if self.values.dtype.kind == "i" else np.float64)

    def __jax_array__(self) -> jax.Array:
        """Returns the value of the member that is looked at, float32 or (u)int32 `[]`."""
        index = _MEMBER.get(None)
        if index is None:
            raise TypeError(f"{self!r}: no member is looked at")
        dtype = "float32"
        if self.values.dtype.kind == "i":
            dtype = "int32" if abs(self.values).max() < 2**31 else "uint32"
        table = jnp.asarray(self.values.astype(dtype))
        return lax.dynamic_index_in_dim(table, jnp.uint32(index), keepdims=False)

    def __repr__(self) -> str:
        return f"PerMember({', '.join(map(str, self.values.tolist()))})"

    def __bool__(self) -> bool:
        return self._agreed(self.values != 0)

    def __round__(self) -> "PerMember":
        return PerMember(np.round(self.values).astype(np.int64))

    def __neg__(self) -> "PerMember":
        return PerMember(-self.values)

    def __abs__(self) -> "PerMember":
        return PerMember(abs(self.values))

    def _agreed(self, decisions: Any) -> bool:
        if decisions.all() != decisions.any():
            raise DiffersError(f"{self!r} differ in a decision")
        return bool(decisions.all())

    __add__, __radd__ = _arithmetic(operator.add)
    __sub__, __rsub__ = _arithmetic(operator.sub)
    __mul__, __rmul__ = _arithmetic(operator.mul)
    __truediv__, __rtruediv__ = _arithmetic(operator.truediv)
    __floordiv__, __rfloordiv__ = _arithmetic(operator.floordiv)
    __mod__, __rmod__ = _arithmetic(operator.mod)
    __pow__, __rpow__ = _arithmetic(operator.pow)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)


def _value_alone(number: PerMember) -> tuple[tuple[jax.Array], None]:
    return (number.__jax_array__(),), None


def _as_it_is(_: None, value: Any) -> Any:
    return value[0]


# Given to a function that is compiled by itself, it is the array of the member there.
jax.tree_util.register_pytree_node(PerMember, _value_alone, _as_it_is)
