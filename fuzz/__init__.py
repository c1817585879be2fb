"""Every message that is read, fed with anything: it is refused in words, or read."""
