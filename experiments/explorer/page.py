"""One HTML file of everything: data, style and script, from `page.html`, `page.css`, `page.js`.

The data are JSON; a column of numbers is there as the base64 of its bytes, little-endian, in the
smallest type that holds it. The page asks for nothing from outside, and its policy forbids it to:
only this style and this script may run.
"""

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_UNSIGNED = (np.uint8, np.uint16, np.uint32)


def page(title: str, data: dict[str, Any]) -> str:
    """Returns the file.

    Args:
      title: of the page.
      data: what `page.js` shows: strings, numbers, lists and columns.
    """
    style, script = ((_HERE / name).read_text() for name in ("page.css", "page.js"))
    # "<" is all that could end a script element or open a comment in one.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "policy": f"default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": content,
    }
    pieces = (_HERE / "page.html").read_text().split("%%")
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def column(values: np.ndarray) -> dict[str, str]:
    """Returns a column: whole numbers from 0 on as few bytes as they need, others as float32."""
    if np.issubdtype(values.dtype, np.integer):
        most = int(values.max(initial=0))
        dtype: Any = next(dtype for dtype in _UNSIGNED if most <= np.iinfo(dtype).max)
    else:
        dtype = np.float32
    array = values.astype(np.dtype(dtype).newbyteorder("<"))
    name = np.dtype(dtype).name
    return {"type": name, "data": base64.b64encode(array.tobytes()).decode()}


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
