"""In and out of files: reading pools, recognising their shape, writing training sets."""
