"""The command `qwen3-triton`, and those of its subcommands that need only the client."""
