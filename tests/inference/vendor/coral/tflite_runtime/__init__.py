"""Hides an installed tflite-runtime, whose other modules are still found."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
