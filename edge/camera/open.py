"""Which source an address means."""

from __future__ import annotations

from pathlib import Path

from edge.camera.file import VideoFile
from edge.camera.folder import Folder
from edge.camera.latest import LiveCamera
from edge.camera.picamera2 import open_picamera2
from edge.camera.rtsp import open_rtsp
from edge.camera.v4l2 import open_v4l2
from edge.config import CameraConfig
from edge.errors import ConfigError


def open_camera(config: CameraConfig) -> VideoFile | Folder | LiveCamera:
    """Return the source that a configuration names.

    Raises:
        ConfigError: the address is of no kind that is known.
        CameraUnavailable: a file or folder is not there or unusable. A live source is opened in
            the background, again and again if need be.
    """
    source = config.source
    if source.startswith(("rtsp://", "rtsps://")):
        return open_rtsp(config)
    if source == "picamera2" or source.startswith("picamera2:"):
        return open_picamera2(config)
    if source.startswith("/dev/"):
        return open_v4l2(config)
    if "://" in source:
        raise ConfigError(
            f"camera.source: {source.partition('://')[0]}:// is not known; there are a clip, a "
            "folder of pictures, /dev/videoN, rtsp://…, rtsps://… and picamera2"
        )
    return Folder(Path(source)) if Path(source).is_dir() else VideoFile(Path(source))
