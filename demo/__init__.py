"""The demonstration: synthetic scene, embedded broker, annotated output. Not on the device."""
