"""The command `qwen3-triton` and the subcommands that need the client alone."""
