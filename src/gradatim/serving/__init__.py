"""Servers that Gradatim runs: started here, watched, restarted within a limit, and ended whatever happens."""
