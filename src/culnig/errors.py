"""Errors a user can act on.

Every message says what is wrong, where, and what to do about it, in one line.  The command line prints the message
and exits with `exit_code`; anything that is not a `CulnigError` is a bug and keeps its traceback.
"""

from __future__ import annotations


class CulnigError(Exception):
    """Base class: something went wrong that the user can put right."""

    exit_code = 1


class UsageError(CulnigError):
    """A command, option, name or path that makes no sense (exit code 2)."""

    exit_code = 2


class DataError(CulnigError):
    """A file whose content is broken; the message names file, row and reason."""


class ModelError(CulnigError):
    """A model that cannot be found, loaded or instrumented."""


class PromptError(CulnigError):
    """A prompt that cannot be rendered or encoded as the run asks for."""


class FetchError(CulnigError):
    """Something that must be downloaded and could not be; the message says how to provide it by hand."""


class CulnigWarning(UserWarning):
    """Something that a user should know and that stops nothing; the command line prints it as one line."""


class OldNameWarning(CulnigWarning):
    """A name that has changed was used; what it stands for was read all the same."""
