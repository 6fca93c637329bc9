"""Errors that a user can correct.

Every message says in one line what is wrong, where, and what to do about it.  The command line prints the message and
exits with `exit_code`.  Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class CulnigError(Exception):
    """Base class: an error that the user can correct."""

    exit_code = 1


class UsageError(CulnigError):
    """A command, option, name or path that is wrong (exit code 2)."""

    exit_code = 2


class DataError(CulnigError):
    """A file whose content is broken; the message names file, row and reason."""


class WriteError(CulnigError):
    """A file that cannot be written: a full disk, a quota, a folder that is read-only, a device that fails."""


class ModelError(CulnigError):
    """A model that cannot be found, loaded or instrumented."""


class PromptError(CulnigError):
    """A prompt that cannot be rendered or encoded as the run requires."""


class FetchError(CulnigError):
    """A download that failed; the message says how to provide the file by hand."""


class CulnigWarning(UserWarning):
    """A fact that the user should know and that stops nothing; the command line prints it as one line."""


class OldNameWarning(CulnigWarning):
    """An old name was used; it was read under its present name."""
