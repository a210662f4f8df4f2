"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input: a file, a key, a folder or an option.

    The message is one line that names the thing, what was expected and what was found.  The command line
    prints it and exits with status 2.
    """
