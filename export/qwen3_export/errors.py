"""The error that export raises for everything that a user can put right."""


class ExportError(Exception):
    """The checkpoint cannot be exported; the message says why and what to do."""
