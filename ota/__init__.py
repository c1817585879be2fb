"""Updates: keys, signed bundles, and the scripts that run on the device (`ota/device`)."""
