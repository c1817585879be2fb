"""Sources of frames: one file a source, one small protocol (`base.Camera`) they all meet."""
