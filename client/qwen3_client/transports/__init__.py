"""Transports, which carry a client's requests: `Transport` is the interface, and `FakeTransport` needs no server."""

from .base import Outputs, Transport
from .fake import FakeRequest, FakeTransport

__all__ = ["FakeRequest", "FakeTransport", "Outputs", "Transport"]
