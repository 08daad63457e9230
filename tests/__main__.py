"""Runs every gate: `python -m tests`. Arguments go to pytest, which comes last."""

from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

GATES = {
    "ruff": [sys.executable, "-m", "ruff", "check", "--quiet", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--quiet", "--check", "."],
    "types": [sys.executable, "-m", "mypy"],
    "layers": [str(BIN / "lint-imports"), "--no-cache"],
    "tests": [
        *(sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", *sys.argv[1:]),
    ],
}


def main() -> int:
    """Runs them all, shows what the failing ones said, and returns 1 if one failed."""
    failed = []
    for name, command in GATES.items():
        last = name == "tests"
        result = subprocess.run(command, cwd=ROOT, capture_output=not last, text=True, check=False)
        if result.returncode:
            failed.append(name)
            print(f"{name} failed:\n{result.stdout or ''}{result.stderr or ''}", flush=True)
        elif not last:
            print(f"{name} passed", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
