"""The part of cuda-python that Lethe uses."""
