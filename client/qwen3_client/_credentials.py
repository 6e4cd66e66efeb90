"""What shows who a client is, and who the server must be: certificates, and headers of every request.

This module opens no connection.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._address import Address
from ._errors import InvalidInputError, RefusedError

__all__ = ["Credentials", "Tls", "credentials_for"]

_HEADER = re.compile(r"[a-z0-9_.-]+")  # what gRPC takes; HTTP takes more
_RESERVED = {
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "inference-header-content-length",
    "te",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates for `grpcs://` and `https://`, as paths of PEM files.

    Attributes:
        ca: certificates of the authorities that may vouch for the server; None for those that the system trusts.
        certificate: the client's own certificate with its chain, where the server asks for one (mTLS).
        key: its private key, not encrypted.

    Raises:
        InvalidInputError: a file cannot be read, or only one of certificate and key is given.
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInputError("certificate= and key= go together: give both, or neither")
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                raise InvalidInputError(
                    f"cannot read {name}={str(path)!r}: there is no such file, or it is not ours to read"
                )

    def read(self, name: str) -> bytes | None:
        """Returns the content of one of the files."""
        path = getattr(self, name)
        return None if path is None else Path(path).read_bytes()

    def context(self) -> ssl.SSLContext:
        """Returns what Python's ssl makes of the files.

        Raises:
            RefusedError: a file is no PEM file of its kind.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise RefusedError(f"cannot use the certificates of {self}: {error}") from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What goes with every request.

    Attributes:
        tls: certificates; None where nothing is encrypted.
        headers: names, in lower case, and values; gRPC calls them metadata.
    """

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they may hold secrets


def credentials_for(
    address: Address, *, tls: Tls | None, token: str | None, headers: Mapping[str, str] | None
) -> Credentials:
    """Checks what the caller gave.

    Args:
        address: the server.
        tls: certificates.
        token: a bearer token (RFC 6750).
        headers: more headers.

    Raises:
        InvalidInputError: something cannot be sent, or would be sent in vain.
    """
    if tls is not None and not address.is_secure:
        raise InvalidInputError(
            f"tls= needs an encrypted URL: {address.protocol}s://{address.host_and_port} instead of {address}"
        )
    named = {name.lower(): value for name, value in (headers or {}).items()}
    if token is not None:
        if "authorization" in named:
            raise InvalidInputError("token= and the header Authorization contradict each other: give one")
        named["authorization"] = f"Bearer {token}"
    for name, value in named.items():
        if not _HEADER.fullmatch(name) or name in _RESERVED or name.startswith("grpc-") or name.endswith("-bin"):
            raise InvalidInputError(f"cannot send a header {name!r}: it is no name, or the protocol's own")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()) or value != value.strip():
            raise InvalidInputError(f"cannot send the header {name!r}: its value must be printable ASCII")
    return Credentials(tls=tls if tls is not None or not address.is_secure else Tls(), headers=named)
