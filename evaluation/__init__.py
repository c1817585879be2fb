"""How well the models do, measured as biometrics are measured. Never part of the firmware."""
