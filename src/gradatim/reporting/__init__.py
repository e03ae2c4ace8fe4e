"""The report: records of what it shows, and one self-contained page made of them."""
