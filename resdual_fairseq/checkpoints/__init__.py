"""Checkpoints: how they are loaded, averaged, rounded to 8 bits, and gone on from."""
