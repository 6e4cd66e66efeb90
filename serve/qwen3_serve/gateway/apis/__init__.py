"""One module for each API that the gateway offers."""
