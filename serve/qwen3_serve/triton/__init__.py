"""Triton as a process: which one, its ports and paths, from start to stop."""
