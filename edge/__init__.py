"""What runs on the device: camera to match event, and nothing of anyone who does not match."""

__version__ = "0.1.0"
