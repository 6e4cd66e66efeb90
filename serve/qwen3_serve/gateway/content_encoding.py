"""Compressed request bodies: `Content-Encoding: gzip` and `deflate`."""

import zlib
from collections.abc import Iterable

from .errors import ApiError

_GZIP = zlib.MAX_WBITS | 16
_WINDOW_BITS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}


class Decoder:
    """Decompresses one body as it arrives.

    Args:
        window_bits: The format, as `zlib.decompressobj` takes it.
    """

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)

    def decode(self, content: bytes, *, max_bytes: int, is_last: bool) -> bytes:
        """Return what the next bytes of the body decompress to.

        Args:
            content: The bytes.
            max_bytes: Decompress no more than this.
            is_last: Whether the body ends with them.

        Raises:
            ApiError: They are not of this format, or the body ends too early.
        """
        try:
            decoded = self._zlib.decompress(content, max(max_bytes, 1))
        except zlib.error:
            raise ApiError("malformed", "the body is not what its Content-Encoding says") from None
        if self._zlib.unused_data or (is_last and not self._zlib.eof and len(decoded) < max_bytes):
            raise ApiError("malformed", "the body is not what its Content-Encoding says: it ends too early or too late")
        return decoded


def decoder_for(headers: Iterable[tuple[bytes, bytes]]) -> Decoder | None:
    """Return the decoder for a request's body; None if it is not compressed.

    Raises:
        ApiError: It is compressed in a way that the gateway does not read.
    """
    given = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
    encodings = [each for each in b",".join(given).replace(b" ", b"").split(b",") if each not in (b"", b"identity")]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in _WINDOW_BITS:
        raise ApiError(
            "encoding",
            "this gateway reads bodies that are not compressed, or with Content-Encoding gzip or deflate",
            headers={"accept-encoding": "gzip, deflate, identity"},
        )
    return Decoder(_WINDOW_BITS[encodings[0]])
