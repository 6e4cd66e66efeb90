"""Triton as a process: the installation, its ports and paths, and its life from start to stop."""
