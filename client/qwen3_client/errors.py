"""The errors that the client raises, named by what the caller must do.

    Qwen3ClientError                 catch this one to catch them all
    ├── InvalidInputError            (ValueError)       change the call: a text, an option or a URL is wrong
    │   ├── EmptyTextError                              leave out the text, which is empty
    │   └── TextTooLongError                            shorten or split the text, or let it be cut
    ├── RefusedError                                    show the server other credentials, or mend the certificates
    ├── ContractMismatchError                           export again, or point at another model or tokenizer
    │   └── UnknownModelError                           name a model that the server has
    ├── TokenizerUnavailableError                       pass tokenizer=, or give access to the Hub
    ├── ServerUnavailableError       (ConnectionError)  start the server, or correct the URL
    │   └── ConnectionLostError                         nothing: the client sends the request again
    ├── ServerOverloadedError                           send less at once, or try again later
    ├── ServerTimeoutError           (TimeoutError)     wait longer, or look at the server's load
    └── InferenceError                                  look at the server's log: it failed on this text

This module knows nothing about transports; `transports.failures.error_for` decides which failure becomes which error.
"""

from typing import TypeVar

_ErrorT = TypeVar("_ErrorT", bound="Qwen3ClientError")


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

    def about(self: _ErrorT, noun: str, index: int) -> _ErrorT:
        """Return the same error about one item of a call.

        Layers that see a single text, or a few of those of a call, cannot know its position; who has the whole call
        does.

        Args:
            noun: what `index` counts.
            index: position of the item, counted from 0.
        """
        error = type(self)(str(self.args[0]), index=index, noun=noun)
        error.__cause__ = self.__cause__
        return error.with_traceback(self.__traceback__)


class InvalidInputError(Qwen3ClientError, ValueError):
    """A text, an option or a URL that cannot be used; nothing is wrong with the server."""


class EmptyTextError(InvalidInputError):
    """A text without a character."""


class TextTooLongError(InvalidInputError):
    """A text of more tokens than the model takes, which was not to be cut."""


class RefusedError(Qwen3ClientError):
    """The server does not let this client in, or the certificates to show it cannot be used."""


class ContractMismatchError(Qwen3ClientError):
    """The served model, or the tokenizer, is not what this client works with."""


class UnknownModelError(ContractMismatchError):
    """The server has no model of that name."""


class TokenizerUnavailableError(Qwen3ClientError):
    """The model's tokenizer.json is not on this machine, and the Hub did not give it."""


class ServerUnavailableError(Qwen3ClientError, ConnectionError):
    """No server answers at the URL, or it is starting or stopping."""


class ConnectionLostError(ServerUnavailableError):
    """The server closed the connection before it answered, as it may with one that was idle."""


class ServerOverloadedError(Qwen3ClientError):
    """The server's queue is full; the same request may succeed later."""


class ServerTimeoutError(Qwen3ClientError, TimeoutError):
    """No answer came within `timeout_s`."""


class InferenceError(Qwen3ClientError):
    """The server failed on this request, or gave numbers that are not finite."""
