"""Exceptions for what a user can mend."""


class InputError(ValueError):
    """Bad input: a file, a key, a folder or an option.

    The message is one line that names the thing, what was expected and what was found.  The command line
    prints it and exits with status 2.
    """


class ChangedError(InputError):
    """Data, weights or code are no longer those that a study was started on, or changed while they were read.

    In a trial it is no failure of the trial's: the study stops, and no row is written.
    """
