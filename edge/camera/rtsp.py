"""Network cameras that speak RTSP, through OpenCV (FFmpeg), over TCP."""

from __future__ import annotations

from urllib.parse import urlsplit

import cv2

from edge import limits
from edge.camera.latest import LiveCamera
from edge.camera.v4l2 import CaptureGrabber
from edge.config import CameraConfig
from edge.errors import ConfigError


def open_rtsp(config: CameraConfig) -> LiveCamera:
    """Return the camera at an rtsp:// or rtsps:// address.

    Raises:
        ConfigError: no host in the address.
    """
    name = without_credentials(config.source)

    def connect() -> CaptureGrabber:
        # OpenCV asks for RTSP over TCP by default (OPENCV_FFMPEG_CAPTURE_OPTIONS unset).
        capture = cv2.VideoCapture(
            config.source,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * limits.CAMERA_STALL_S),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * limits.CAMERA_STALL_S),
            ],
        )  # fmt: skip
        return CaptureGrabber(capture, name)

    return LiveCamera(name, connect)


def without_credentials(address: str) -> str:
    """Return an address without user name, password and query, which may hold a token.

    Raises:
        ConfigError: it is no address, or has no host.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"camera.source: not an RTSP address: {error}") from error
    if not host:
        raise ConfigError("camera.source: the RTSP address has no host: rtsp://host[:port]/path")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
