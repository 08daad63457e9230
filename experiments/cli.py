"""What every program does alike: flags, one-line errors, the compilation cache, stopping."""

from collections.abc import Callable
import logging as standard_logging
from pathlib import Path
import re
import signal
import sys
from typing import Any
import warnings

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from sae_jax import errors, fetch

# What ml_collections says of --config.model.KEY=value where there is no such key.
_MISSING = re.compile(r"'(\w+)'(?:\n(.*))?")

EXIT_ERROR = 2
EXIT_PREEMPTED = 143  # 128 + SIGTERM, as if the signal had ended the process.


def run(main: Callable[[], int | None]) -> None:
    """Parses flags, runs `main` and exits with its status; a UserError is one line on stderr."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    # What orbax has to say of a failed save, `sae_jax.train.checkpoint` says in one line.
    logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
    standard_logging.getLogger("asyncio").setLevel(standard_logging.CRITICAL)
    sys.unraisablehook = _quiet_about_closed_loops
    # Orbax drops the writes that had not begun when another one failed.
    warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)

    def body(argv: list[str]) -> None:
        if len(argv) > 1:
            fail(f'unexpected argument "{argv[1]}": flags are written --name=value')
        try:
            sys.exit(main())
        except errors.UserError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted: the same command goes on from the last checkpoint")

    app.run(body, flags_parser=_parse)


def _quiet_about_closed_loops(unraisable: Any) -> None:
    """Shows what no one could catch, but for writes that were under way when a save failed."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def fail(text: str) -> None:
    """Prints one line and ends the program."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    sys.exit(EXIT_ERROR)


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, in the folder "xla" of the cache."""
    folder = fetch.cache_folder("xla")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.warning("no compilation cache in %s: %s", folder, error.strerror)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The defaults keep nothing that compiled within a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def config_name(folder: str, question: str) -> str:
    """Returns what the flag --config names, with its variant.

    Args:
      folder: whose files an error names.
      question: what is asked where the flag was not given.

    Raises:
      UserError: it was not given, or is no file.
    """
    present = ", ".join(str(path) for path in sorted(Path(folder).glob("[!_]*.py")))
    flag = flags.FLAGS["config"]
    if not flag.present:
        raise errors.UserError(f"{question} --config=...: there are {present}")
    name = config_flags.get_config_filename(flag)
    if not Path(name.partition(":")[0]).is_file():
        raise errors.UserError(f"--config={name}: there is no such file; there are {present}")
    return name


class Stop:
    """Whether SIGTERM or SIGINT has asked to stop; the second SIGINT interrupts at once."""

    def __init__(self) -> None:
        """Listens from now on."""
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        """Returns whether to stop."""
        return self._asked

    def _ask(self, number: int, frame: Any) -> None:
        del frame
        self._asked = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else self._ask)
        print("\nstopping: the state will be saved first", file=sys.stderr, flush=True)


def flag_error(error: Exception) -> str:
    """Returns in one line what is wrong with flags that could not be parsed."""
    if isinstance(error, flags.Error):
        # A config that raises comes as a whole traceback: its last line says what is wrong.
        line = str(error).strip().splitlines()[-1]
        if "as a ConfigDict" in line:
            return f"{line} It is a group: set one of its keys, as in --config.loss.l1.value=0.1"
        return f"{line} (--help lists the flags)"
    cause = error.args[0] if isinstance(error, AttributeError) and error.args else error
    missing = _MISSING.fullmatch(str(cause.args[0])) if isinstance(cause, KeyError) else None
    if missing:
        meant = missing[2] or "Flags change keys that it has, its file adds others"
        return f'the config has no key "{missing[1]}". {meant}'
    return f"{type(error).__name__}: {error}"  # Whatever a config file does when it is run.


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except Exception as error:
        fail(flag_error(error))
    raise AssertionError
