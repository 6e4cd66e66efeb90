"""The one error that serving raises for anything an operator can put right."""


class ServeError(Exception):
    """Triton cannot run or has stopped; the message says why, in Triton's own words where it gave any."""
