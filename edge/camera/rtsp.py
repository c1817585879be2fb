"""Network cameras that speak RTSP, through OpenCV (FFmpeg).

OpenCV asks FFmpeg for TCP first (`rtsp_flags=prefer_tcp`), UDP only where the camera refuses it,
unless OPENCV_FFMPEG_CAPTURE_OPTIONS says otherwise. Its own limits for opening and reading are
30 s, so ours are given. A decoder in hardware is used where the FFmpeg that OpenCV was built with
has one for this machine, and the processor where not; not yet run on such hardware. All this is
OpenCV's source, cap_ffmpeg_impl.hpp.
"""

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
        ConfigError: no host in the address, or it cannot be told what in it is the password.
    """
    name = without_credentials(config.source)

    def connect() -> CaptureGrabber:
        capture = cv2.VideoCapture(
            config.source,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * limits.CAMERA_STALL_S),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * limits.CAMERA_STALL_S),
                cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_ANY,
            ],
        )  # fmt: skip
        return CaptureGrabber(capture, name)

    return LiveCamera(name, connect)


def without_credentials(address: str) -> str:
    """Return an address without user name, password and query, which may hold a token.

    Raises:
        ConfigError: it is no address, has no host, or a character of the password would be taken
            for the end of the host. The message quotes nothing of the address.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(
            "camera.source: not an RTSP address: write rtsp://[user:password@]host[:port]/path, "
            "and / ? # [ ] @ in user and password (@ in the path, too) as %2F %3F %23 %5B %5D %40"
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
