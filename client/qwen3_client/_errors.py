"""The errors that the client raises, named by what the caller must do.

    Qwen3ClientError                 catch this one to catch them all
    ├── InvalidInputError            (ValueError)       change the call: a text, an option or a URL is wrong
    │   ├── EmptyTextError                              leave the text out
    │   └── TextTooLongError                            shorten or split the text, or let it be truncated
    ├── RefusedError                                    show the server other credentials, or none that are broken
    ├── ContractMismatchError                           export again, or point at another model or tokenizer
    │   └── UnknownModelError                           (within this package) name a model that is there
    ├── TokenizerUnavailableError                       pass tokenizer=, or give access to the Hub
    ├── ServerUnavailableError       (ConnectionError)  start the server, or correct the URL
    ├── ServerOverloadedError                           send less at once, or try again later
    ├── ServerTimeoutError           (TimeoutError)     wait longer, or look at the server's load
    └── InferenceError                                  look at the server's log: it failed on this text

This module knows nothing about transports; `_transport.error_for` decides which failure becomes which error.
"""

import contextlib
from collections.abc import Iterator

__all__ = [
    "ContractMismatchError",
    "EmptyTextError",
    "InferenceError",
    "InvalidInputError",
    "Qwen3ClientError",
    "RefusedError",
    "ServerOverloadedError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "TextTooLongError",
    "TokenizerUnavailableError",
    "UnknownModelError",
    "about",
]


class Qwen3ClientError(Exception):
    """Any failure of the client.

    Attributes:
        index: position, counted from 0, of the text, document or pair that failed among those of the call; None
            when the failure is not about one of them.
        noun: what `index` counts: "text", "document" or "pair".
    """

    def __init__(self, message: str, *, index: int | None = None, noun: str = "text") -> None:
        super().__init__(message)
        self.index = index
        self.noun = noun

    def __str__(self) -> str:
        message = str(self.args[0])
        return message if self.index is None else f"{self.noun} {self.index}: {message}"


class InvalidInputError(Qwen3ClientError, ValueError):
    """A text, an option or a URL that cannot be used; nothing is wrong with the server."""


class EmptyTextError(InvalidInputError):
    """A text is empty."""


class TextTooLongError(InvalidInputError):
    """A text has more tokens than the model takes, and must not be truncated."""


class RefusedError(Qwen3ClientError):
    """The server does not let this client in, or the certificates to show it cannot be used."""


class ContractMismatchError(Qwen3ClientError):
    """The served model, or the tokenizer, is not what this client works with."""


class UnknownModelError(ContractMismatchError):
    """The server has no model of that name."""


class TokenizerUnavailableError(Qwen3ClientError):
    """The model's tokenizer.json is neither on this machine nor to be had from the Hub."""


class ServerUnavailableError(Qwen3ClientError, ConnectionError):
    """No server answers at the URL, or it is starting or stopping."""


class ServerOverloadedError(Qwen3ClientError):
    """The server's queue is full; the same request may succeed later."""


class ServerTimeoutError(Qwen3ClientError, TimeoutError):
    """No answer came within `timeout_s`."""


class InferenceError(Qwen3ClientError):
    """The server failed on this request, or gave numbers that are not finite."""


@contextlib.contextmanager
def about(noun: str, index: int) -> Iterator[None]:
    """Notes on every error of the block which item of the call it is about."""
    try:
        yield
    except Qwen3ClientError as error:
        error.noun, error.index = noun, index
        raise
