"""The demonstration: synthetic scene, embedded broker, annotated output. Not on the device."""

import edge as edge  # first of all: it tells OpenCV how large a picture may be
