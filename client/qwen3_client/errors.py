"""The errors that the client raises, named by what the caller must do.

    Qwen3ClientError                 catch this one to catch them all
    ├── InvalidInputError            (ValueError)       change the call: a text, an option or a URL is wrong
    │   ├── EmptyTextError                              leave out the text, which is empty
    │   ├── TextTooLongError                            shorten or split the text, or allow the client to cut it
    │   └── TooManyTokensError                          send fewer texts at once
    ├── RefusedError                                    use other credentials, or correct the certificates
    ├── ContractMismatchError                           export the model again, or name another model or tokenizer
    │   ├── UnknownModelError                           name a model that the server has
    │   └── ModelChangedError                           begin again: the server has another model now
    ├── TokenizerUnavailableError                       pass tokenizer=, or provide access to the Hub
    ├── ServerUnavailableError       (ConnectionError)  start the server, or correct the URL
    │   └── ConnectionLostError                         start the server: the client has tried twice already
    ├── ServerOverloadedError                           send fewer requests at once, or try again later
    ├── ServerTimeoutError           (TimeoutError)     wait longer, or look at the server's load
    └── InferenceError                                  look at the server's log: it failed on this text

This module knows nothing about transports; `transports.failures.error_for` maps failures of the
protocols to these errors.
"""

from typing import TypeVar

_ErrorT = TypeVar("_ErrorT", bound="Qwen3ClientError")


class Qwen3ClientError(Exception):
    """The base class of all errors of the client.

    Attributes:
        index: index in the call, from 0, of the text, document or pair that failed; None if the failure is not about
            one of them.
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
        """Return a copy of the error that names the item of a call that it is about.

        The lower layers see only some of a call's items and cannot know the index. The client, which has the whole
        call, adds it.

        Args:
            noun: what `index` counts.
            index: index of the item in the call, from 0.
        """
        error = self.saying(str(self.args[0]))
        error.index, error.noun = index, noun
        error.__cause__ = self.__cause__
        return error.with_traceback(self.__traceback__)

    def saying(self: _ErrorT, message: str) -> _ErrorT:
        """Return a copy of the error with another message; of a subclass too, whatever its constructor takes."""
        error = type(self).__new__(type(self), message)
        error.__dict__.update(self.__dict__)
        error.args = (message,)
        return error


class InvalidInputError(Qwen3ClientError, ValueError):
    """The text, option or URL cannot be used. Nothing is wrong with the server."""


class EmptyTextError(InvalidInputError):
    """The text is empty."""


class TextTooLongError(InvalidInputError):
    """The text has more tokens than the model takes, and the call did not allow to cut it."""


class TooManyTokensError(InvalidInputError):
    """The texts of the call have more tokens together than the call allows."""


class RefusedError(Qwen3ClientError):
    """The server denies this client access, or the certificates cannot be used."""


class ContractMismatchError(Qwen3ClientError):
    """The served model or the tokenizer does not work with this client."""


class UnknownModelError(ContractMismatchError):
    """The server has no model of that name."""


class ModelChangedError(ContractMismatchError):
    """Another model answered than the one that the call began with. No vector of the call is returned.

    Attributes:
        answered: fingerprint of the model that answered; None if it is not known.
    """

    def __init__(
        self, message: str, *, index: int | None = None, noun: str = "text", answered: str | None = None
    ) -> None:
        super().__init__(message, index=index, noun=noun)
        self.answered = answered


class TokenizerUnavailableError(Qwen3ClientError):
    """The model's tokenizer.json is neither on this machine nor available from the Hub."""


class ServerUnavailableError(Qwen3ClientError, ConnectionError):
    """No server answers at the URL, or it is starting or stopping."""


class ConnectionLostError(ServerUnavailableError):
    """The server closed the connection before it answered, as it may do with an idle connection."""


class ServerOverloadedError(Qwen3ClientError):
    """The server's queue is full. The same request may succeed later."""


class ServerTimeoutError(Qwen3ClientError, TimeoutError):
    """No answer came within `timeout_s`."""


class InferenceError(Qwen3ClientError):
    """The server failed on this request, or returned numbers that are not finite."""
