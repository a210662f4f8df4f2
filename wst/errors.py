"""Exceptions for what a user can mend."""

from wst.screen import printable

_LONGEST, _END = 1_000, 300
"""Characters of a message, and how many of these are its end where it is cut: what was found stands there."""


class InputError(ValueError):
    """Bad input: a file, a key, a folder or an option.

    The message is one line that names the thing, what was expected and what was found; whatever the texts in
    it are, it has no ends of lines, nothing that a terminal obeys, and a length that can be read.  The
    command line prints it and exits with status 2.
    """

    def __init__(self, message: object):
        line = printable(str(message))
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST - _END - 3]}...{line[-_END:]}"
        super().__init__(line)


class ChangedError(InputError):
    """Data, weights or code are no longer those that a study was started on, or changed while they were read.

    In a trial it is no failure of the trial's: the study stops, and no row is written.
    """


class TimeLimitError(Exception):
    """A trial took longer than the study allows; it may be raised anywhere, in a library too."""
