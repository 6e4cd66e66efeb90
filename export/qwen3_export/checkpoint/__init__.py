"""Checkpoints: finding one, reading its weights and vocabulary, and making random ones."""
