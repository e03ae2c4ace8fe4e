"""How fast long reasoning is split into steps: 10,000 texts of about 4,000 tokens, on one core.

    python benchmarks/bench_steps.py [--texts 10000] [--seed 0]

Three mixes of made-up reasoning: plain prose with formulas in the line; prose with displayed mathematics in every third
paragraph; prose with a fenced program in every fourth. Prints MB/s and steps per text of both rules. What counts is CPU
time of the splitting alone, not of making the texts. Exits with 1 where the rule `reasoning` is slower than 50 MB/s on
any mix, or a text does not join from its steps.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.prm.steps import split_steps
from gradatim.prm.thoughts import split_thoughts

if TYPE_CHECKING:
    from collections.abc import Sequence

WANTED = 50.0
CHARACTERS = 16_000
"""About 4,000 tokens at four characters a token."""
_AT_ONCE = 20
OPENERS = (
    ("So", "Then", "Now", "First", "Next", "Since the total is known,", "This means that", "In other words,") * 3
    + ("Wait,", "Hmm,", "But wait,", "Alternatively,", "Let me check:", "Let me verify that.", "Actually,", "However,")
)  # fmt: skip
SENTENCES = (
    "the number of red marbles is {a} and the number of blue ones is {b}, which gives {c} in all.",
    "we need $x^{a} + {b}x = {c}$ to hold for every integer $x$ between {a} and {c}.",
    "if each of the {a} workers paints {b} walls a day, then {c} walls take about {a} days.",
    "the remainder of {c} when it is divided by {b} must be {a}, because {b} times {a} is less than {c}.",
    "that cannot be right, since the problem says that there are at least {a} of them (not {b}).",
    "I think the ratio is {a}:{b}, so the larger part is {c} and the smaller one is what is left.",
    "the triangle with sides {a}, {b} and {c} has a right angle only if the squares add up.",
    "multiplying both sides by {a} and subtracting {b} leaves us with {c} on the right-hand side.",
    "we can pair the first term with the last one, the second with the last but one, and so on, {a} times.",
    "the probability of drawing two of the same colour is \\( \\frac{{a}}{{b}} \\), or about {c} percent.",
)
DISPLAYS = (
    "\\[\n\\frac{{a} + {b}}{{c}} = \\sqrt{x^2 + {a}} \\cdot \\left( 1 - \\frac{1}{{b}} \\right)\n\\]",
    "$$ \\sum_{k=1}^{{a}} \\binom{{b}}{k} \\cdot {c}^{k} = \\alpha + \\beta $$",
    "\\begin{align*}\n2x + {a}y &= {b} \\\\\n{c}x - y &= \\frac{{a}}{2}\n\\end{align*}",
)
PROGRAM = (
    "```python\ndef count(n):\n    total = 0\n    for k in range(1, n + {a}):\n        if k % {b} == 0:\n"
    "            total += k  # every {b}th\n    return total\n\n\nprint(count({c}))\n```"
)


def main() -> int:
    """Split the texts of each mix, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    slow = []
    print(f"{'mix':10}{'MB':>8}{'reasoning MB/s':>17}{'steps':>8}{'blank-lines MB/s':>19}{'steps':>8}")
    for mix, share in (("plain", 0.0), ("maths", 1 / 3), ("code", 0.25)):
        parts = paragraphs(random.Random(options.seed), mix, share)
        found = measured(parts, options.texts, options.seed)
        (taken, steps), (other, other_steps) = found.rules
        print(
            f"{mix:10}{found.size:8.0f}{found.size / taken:17.0f}{steps / options.texts:8.1f}"
            f"{found.size / other:19.0f}{other_steps / options.texts:8.1f}",
            flush=True,
        )
        if found.size / taken < WANTED:
            slow.append(mix)
    if slow:
        print(f"slower than {WANTED:g} MB/s: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


def paragraphs(made: random.Random, mix: str, share: float) -> list[str]:
    """Return 4,000 paragraphs of a mix."""

    def filled(template: str) -> str:
        for name in ("{a}", "{b}", "{c}"):
            template = template.replace(name, str(made.randrange(2, 400)))
        return template

    def prose() -> str:
        sentences = [filled(made.choice(SENTENCES)) for _ in range(made.randint(1, 5))]
        return f"{made.choice(OPENERS)} {' '.join(sentences)}"

    def special() -> str:
        return filled(made.choice(DISPLAYS) if mix == "maths" else PROGRAM)

    return [special() if made.random() < share else prose() for _ in range(4000)]


def text_of(parts: Sequence[str], made: random.Random) -> str:
    """Return one text of about 4,000 tokens."""
    chosen, size = [], 0
    while size < CHARACTERS:
        chosen.append(made.choice(parts))
        size += len(chosen[-1]) + 2
    return "\n\n".join(chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the texts of a mix took."""

    size: float
    """MB: millions of characters, which are bytes in these texts."""
    rules: tuple[tuple[float, int], ...]
    """Seconds of CPU time and steps, of `reasoning` and of `blank-lines`."""


def measured(parts: Sequence[str], count: int, seed: int) -> Measured:
    """Split so many texts by both rules, some at a time, so that they need not be in memory at once."""
    made, size = random.Random(seed + 1), 0
    rules = {split_thoughts: (0.0, 0), split_steps: (0.0, 0)}
    for start in range(0, count, _AT_ONCE):
        texts = [text_of(parts, made) for _ in range(min(_AT_ONCE, count - start))]
        size += sum(map(len, texts))
        for split, (taken, steps) in rules.items():
            begun = time.process_time()
            found = [split(text) for text in texts]
            rules[split] = (taken + time.process_time() - begun, steps + sum(map(len, found)))
            if ["".join(steps) for steps in found] != texts:
                raise SystemExit("a text does not join from its steps")
    return Measured(size=size / 1e6, rules=tuple(rules.values()))


if __name__ == "__main__":
    sys.exit(main())
