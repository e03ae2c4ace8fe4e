"""One verb per file. Each does what is missing, so that a rerun is a resume."""
