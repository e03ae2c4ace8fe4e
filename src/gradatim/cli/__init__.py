"""The command line: parse, call what Python users call, print."""
