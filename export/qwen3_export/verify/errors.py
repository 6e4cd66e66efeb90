"""The one error that verify raises for anything a user can put right."""


class VerifyError(Exception):
    """Nothing could be compared; the message says why and what to do. A comparison that fails is no error."""
