"""The search on a CPU: steps of a whole decoder stack, in torch or in the compiled library."""
