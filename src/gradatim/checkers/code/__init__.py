"""The checker for programs: runs them in a sandbox against the question's suite of tests."""
