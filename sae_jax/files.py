"""Files that are at every moment whole: as they were before, or new."""

import os
from pathlib import Path


def replace(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole, old or new, whatever happens meanwhile."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
