"""What can go wrong while an image, a package or a bundle is made."""

from edge.errors import BadInput, Unavailable


class BuildFailed(Unavailable):
    """A tool is missing or ended with an error; the message names the tool and its log."""


class RecipeError(BadInput):
    """A recipe is not what `firmware.recipe` describes; the message names file and field."""
