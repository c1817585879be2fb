"""The command line: `./lethe …`. Thin: parses arguments, calls `edge` and `fleet`, prints."""
