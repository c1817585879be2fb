"""What runs on the device: camera to match event, and nothing of anyone who does not match."""

__version__ = "0.1.0"

import os

from edge.limits import MAX_FRAME_SIDE

# OpenCV reads this once, when it is loaded: larger pictures are refused by their header alone.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_FRAME_SIDE**2))
