"""Wire formats and rules shared by device and fleet. Pure: no I/O, no clock, no threads."""
