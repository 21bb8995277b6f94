"""`resdual-diagnose`: gradients and representations of every block, measured on real data.

What is measured stands in table.py, how it is measured in probes.py, what theory says of it in
theory.py. Nothing of this is imported by training.
"""
