"""The library: one SQLite file that holds questions, attempts, verdicts, scores, grades, draws and chains."""
