"""Tiny models, batches and plain equations, shared by the tests."""
