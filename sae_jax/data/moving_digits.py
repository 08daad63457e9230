"""Moving digits: films of MNIST's digits that bounce in a box (Srivastava et al. 2015).

Not the published 10,000 films but made by the same rule, anew from (seed, number of the film).
"""

import dataclasses

import numpy as np

from sae_jax import errors
from sae_jax.data import base, mnist

# Which digits each split is made of: none is in two.
SPLITS = {"train": "train[:55000]", "valid": "train[55000:]", "test": "test"}
_WORDS = 4  # Random words a digit needs, and a block of Philox.


@dataclasses.dataclass(frozen=True)
class Film:
    """How films look: `frames` of `size` x `size` pixels in which `digits` of `digit` pixels move.

    Attributes:
      frames: that a film has.
      size: pixels of a side.
      digits: that move in it.
      digit: pixels of a digit's side: 28, or a part of it, 14, 7, 4, to which it is averaged.
      speed: part of the way from border to border that a digit moves from frame to frame.
    """

    frames: int
    size: int
    digits: int
    digit: int
    speed: float

    def __post_init__(self) -> None:
        """Refuses what cannot be filmed."""
        if self.digit not in (28, 14, 7, 4):
            raise errors.DataError(f"digit={self.digit} does not divide 28: set 28, 14, 7 or 4")
        if self.size < self.digit:
            raise errors.DataError(f"a digit of {self.digit} does not fit size={self.size}")
        if self.frames < 1 or self.digits < 1 or not 0 <= self.speed <= 1:
            raise errors.DataError(
                f"{self.frames} frames of {self.digits} digits at speed {self.speed}: at least one "
                "of both, and a speed from 0 to 1"
            )


def load(
    split: str,
    folder: str = "",
    count: int = 10_000,
    frames: int = 10,
    future: int = 10,
    size: int = 32,
    digits: int = 2,
    digit: int = 14,
    speed: float = 0.1,
    seed: int = 0,
) -> base.Arrays:
    """Returns films: `x` is the first `frames`, `y` these and the next `future`, pixels up to 255.

    Each digit begins anywhere and moves straight on in any direction, `speed` of the way between
    the borders a frame, and is reflected there; where two meet, the brighter pixel is seen. "train"
    is made of the first 55,000 training digits of MNIST, "valid" of the other 5,000, "test" of the
    test digits. Film `i` of a split is the same for every `count`. Films of one digit have its
    class as label, others none. The published films are those of size=64, digit=28.

    Args:
      split: or rows of one; only these are made.
      folder: with MNIST's four files. Empty: the cache, or else they are fetched.
      count: films of a split.
      frames: that are seen.
      future: that are to be predicted; 0: only `x` is to be reconstructed.
      size: pixels of a side.
      digits: in a film.
      digit: pixels of a digit's side: 28, 14, 7 or 4.
      speed: part of the way from border to border, a frame.
      seed: of the films.
    """
    if frames < 1 or future < 0 or count < 1 or not 0 <= seed < 2**32:
        raise errors.DataError(
            f"frames={frames} and count={count} have to be at least 1, future={future} at least 0, "
            f"seed={seed} from 0 to 2**32 - 1"
        )
    film = Film(frames + future, size, digits, digit, speed)
    part, cut = base.parse_split(split)
    if part not in SPLITS:
        raise errors.DataError(f'moving_digits has no split "{part}": it has {", ".join(SPLITS)}')
    rows = base.cut(np.arange(count), cut)
    if not len(rows):
        raise errors.DataError(f'split "{split}" of moving_digits is empty')
    source = mnist.load(SPLITS[part], folder)
    # Splits have streams of their own, though their digits differ already.
    key = seed * len(SPLITS) + list(SPLITS).index(part)
    y, which = films(film, averaged(source.x, digit), key, int(rows[0]), len(rows))
    y = y.reshape(len(y), -1)
    shown = frames * size * size
    spec = base.Spec(
        "moving_digits",
        split,
        (shown,),
        (frames, size, size, 1),
        ((frames + future) * size * size,) if future else None,
    )
    label = source.label[which[:, 0]] if source.label is not None and digits == 1 else None
    return base.Arrays(spec, y[:, :shown], label, y=y if future else None)


def averaged(x: np.ndarray, digit: int) -> np.ndarray:
    """Returns uint8 `[n, digit, digit]`: means over squares of `[n, 784]`, rounded half up."""
    part = 28 // digit
    sums = x.reshape(-1, digit, part, digit, part).sum((2, 4), dtype=np.int64)
    return ((2 * sums + part**2) // (2 * part**2)).astype(np.uint8)


def films(
    film: Film, shapes: np.ndarray, key: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the films `start` to `start + count`, uint8 `[count, frames, size, size]`.

    Also the rows of `shapes` that move in each, int64 `[count, digits]`.

    Args:
      film: how they look.
      shapes: uint8 `[n, digit, digit]`.
      key: of the stream of random numbers.
      start: number of the first film.
      count: films.
    """
    which, corner = paths(film, len(shapes), key, start, count)
    side = np.arange(film.digit)
    out = np.zeros((count, film.frames, film.size, film.size), np.uint8)
    frame = np.arange(film.frames)[:, None, None]
    for first in range(0, count, 256):  # Keeps the index arrays in the processor's cache.
        chunk = slice(first, first + 256)
        place = np.arange(count)[chunk, None, None, None]
        for d in range(film.digits):
            row = corner[chunk, d, 0][:, :, None, None] + side[:, None]
            column = corner[chunk, d, 1][:, :, None, None] + side
            seen = shapes[which[chunk, d]][:, None]
            at = (place, frame, row, column)
            out[at] = np.maximum(out[at], seen)
    return out, which


def paths(film: Film, n: int, key: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which digits move, int64 `[count, digits]`, and their upper left corners.

    A coordinate at frame `t` is `w |((p + v t + 1) mod 2) - 1|` to the nearest pixel, with the way
    `w` from border to border, the start `p` uniform in 0..1 and the velocity `v`: `speed` times the
    cosine or sine of a uniform angle. That is the straight line, reflected at 0 and at `w`.

    Returns:
      Rows of the digits, and int64 `[count, digits, 2, frames]`: from above, and from the left.
    """
    # The words of a bit generator, other than what NumPy makes of them, never change.
    stream = np.random.Philox(key=key)
    stream.advance(start * film.digits)
    words = stream.random_raw(count * film.digits * _WORDS).reshape(count, film.digits, _WORDS)
    uniform = (words >> np.uint64(11)) * 2.0**-53
    which = (uniform[..., 0] * n).astype(np.int64)
    angle = 2 * np.pi * uniform[..., 1]
    velocity = film.speed * np.stack([np.sin(angle), np.cos(angle)], -1)
    place = uniform[..., 2:, None] + velocity[..., None] * np.arange(film.frames)
    reflected = np.abs((place + 1) % 2 - 1)
    return which, np.rint(reflected * (film.size - film.digit)).astype(np.int64)
