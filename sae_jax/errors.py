"""Mistakes that a person can mend."""


class UserError(Exception):
    """Says in one line what is wrong and what to do about it.

    Programs print the text without a traceback and exit with status 2; anything else that is raised
    is a bug of ours and keeps its traceback.
    """


class ConfigError(UserError, ValueError):
    """A value of the config does not fit the others, which is noticed where it is used.

    Loss terms and metrics need not say their names: `sae_jax.train` puts the key of the config
    before what they say.
    """


class NotAtOnceError(ConfigError):
    """All pre-activations are asked for where there is one block of them at a time."""


class DataError(UserError):
    """Data are missing, damaged or not what they should be."""


class CheckpointError(UserError):
    """A checkpoint cannot be written or read."""


class DivergedError(UserError):
    """The loss is no longer a finite number."""
