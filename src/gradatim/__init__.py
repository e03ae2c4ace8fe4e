"""Gradatim: find out what your model cannot solve yet, and teach it that."""

__version__ = "0.1.0"
