"""What the device knows about itself. No figure about people."""
