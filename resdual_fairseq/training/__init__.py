"""Aids of training: what is logged, checked and optimized."""
