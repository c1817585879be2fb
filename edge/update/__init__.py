"""Updates of a device: when one may be installed, how it comes, what became of it."""
