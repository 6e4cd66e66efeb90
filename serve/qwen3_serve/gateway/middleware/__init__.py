"""Middleware that every request and response passes, whatever its API."""
