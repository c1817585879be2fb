"""What happens before a device runs: it is told who it is, and gets access to its broker."""
