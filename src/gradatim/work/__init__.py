"""What several stages share: asking a model so that every answer is kept, and judging what it said."""
