"""A small compiled library for searches on a CPU, and its calls. It knows no model."""
