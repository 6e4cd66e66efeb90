"""Model directories on disk: manifest, versions, Triton configuration."""
