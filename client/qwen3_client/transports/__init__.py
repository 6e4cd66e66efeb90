"""Transports, which carry a client's requests.

`Transport` is the interface, and `BlockingTransport` that of one which can do without an event loop. `FakeTransport`
needs no server.
"""

from .base import BlockingTransport, Outputs, Transport
from .fake import FakeRequest, FakeTransport

__all__ = ["BlockingTransport", "FakeRequest", "FakeTransport", "Outputs", "Transport"]
