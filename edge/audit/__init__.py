"""What the device was told and did, in a log that nobody can change unseen."""
