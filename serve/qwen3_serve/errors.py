"""The error that this package raises for everything that an operator can correct."""


class ServeError(Exception):
    """Triton cannot start or has stopped; the message gives the reason, Triton's own if it has one."""
