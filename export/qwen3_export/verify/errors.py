"""The error that verify raises for everything that a user can put right."""


class VerifyError(Exception):
    """Nothing could be compared; the message says why and what to do.

    A comparison that fails is a result, not an error.
    """
