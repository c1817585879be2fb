"""Running the models: one file a back end, one small protocol (`base.Network`) they all meet."""
