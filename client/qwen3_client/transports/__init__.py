"""How requests travel: `Transport` says what a client needs, and `FakeTransport` answers without a server."""

from .base import Outputs, Transport
from .fake import FakeRequest, FakeTransport

__all__ = ["FakeRequest", "FakeTransport", "Outputs", "Transport"]
