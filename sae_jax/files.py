"""Files that are at every moment whole: as they were before, or new."""

import os
from pathlib import Path
import uuid

# What the name of a file ends in while it is written; who is killed meanwhile leaves it.
PARTIAL = ".partial"


def replace(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole, old or new, whatever happens meanwhile.

    Several writers of one path do not meet: the file is that of the last.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
