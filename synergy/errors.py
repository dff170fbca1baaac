"""Errors that a user can act on.

Every complaint about input names where it was found, what was found, what was expected and what to do
about it. The command line prints it and exits with status 2; the library raises it before any long
computation and before any file is written.
"""


class InputError(ValueError):
    """Bad input from the user: a file, a configuration or an array that cannot be used as it is.

    Parameters
    ----------
    source
        Where: a file name, `file[HDU]`, a configuration key or the name of an observation.
    found
        What is there.
    expected
        What should be there.
    remedy
        What the user can do.
    """

    def __init__(self, source: object, found: str, expected: str, remedy: str) -> None:
        self.source, self.found, self.expected, self.remedy = str(source), found, expected, remedy
        super().__init__(f"{source}: found {found}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str, str]]:
        """Rebuild from the parts, so that worker processes can hand it back."""
        return type(self), (self.source, self.found, self.expected, self.remedy)
