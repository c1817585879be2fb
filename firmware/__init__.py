"""Image recipes and the Debian package: from Debian's packages to a disk that is flashed."""
