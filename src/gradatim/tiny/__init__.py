"""A world small enough to run the whole method in: questions, models of half a million parameters, and a teacher."""
