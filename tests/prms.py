"""A PRM whose scores the test decides."""

from gradatim.types import StepScores


class Scores:
    """A PRM of the test's: gives each solution what `decide` says, and counts what it was asked."""

    name, version, aggregation = "scores", "1", "mean"

    def __init__(self, decide) -> None:
        self.decide = decide
        self.asked = []
        self.ended = 0

    def score(self, solutions):
        try:
            for solution in solutions:
                self.asked.append(solution.key)
                result = self.decide(solution)
                if isinstance(result, float):
                    result = StepScores(steps=("one", "two"), scores=(result, result))
                yield solution.key, result
        finally:
            self.ended += 1

    def close(self) -> None:
        pass
