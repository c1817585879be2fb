"""Tests of whole images and boards."""
