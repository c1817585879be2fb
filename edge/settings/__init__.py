"""The configuration that the fleet wants: taken, put in force, tried out, gone back from, told."""
