"""From pixels to templates: detect, align, quality, track, embed."""
