"""Match events: made, kept until the broker has them, published."""
