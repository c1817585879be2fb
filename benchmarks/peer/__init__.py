"""The usual pipeline, in an environment of its own."""
