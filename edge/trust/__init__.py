"""What the fleet has signed: fetched from retained topics, verified by python-tuf."""
