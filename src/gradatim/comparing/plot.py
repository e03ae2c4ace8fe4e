"""A comparison as a picture: each arm's difference to the baseline with its interval, one SVG without any other file.

Every seed is a small dot.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from gradatim.reporting.figure import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradatim.comparing.compare import CompareResult
    from gradatim.method.comparison import Line

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 760, 150, 114, 24, 64, 46


def svg(result: CompareResult) -> str:
    """Return the picture. Arms stand in the order of their best difference."""
    shares = list(dict.fromkeys(line.replay for line in result.lines))
    by_arm: dict[str, list[Line]] = {}
    for line in result.lines:
        if line.difference is not None:
            by_arm.setdefault(line.arm, []).append(line)
    arms = sorted(by_arm, key=lambda arm: -max(_value(line) for line in by_arm[arm]))
    height = _TOP + _ROW * sum(len(by_arm[arm]) for arm in arms) + 8 * len(arms) + _BOTTOM
    dots = {(line.arm, line.replay): _dots(result, line) for lines in by_arm.values() for line in lines}
    low, high, step = _axis(result, [one for found in dots.values() for one in found])

    def x(points: float) -> float:
        return round(_LEFT + (points - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    parts = [*_heading(result, shares), *_grid((low, high, step), x(0), x, height)]
    y = _TOP + 16
    for arm in arms:
        lines = by_arm[arm]
        parts.append(
            f'<text x="{_LEFT - 14}" y="{y + _ROW * (len(lines) - 1) / 2 + 4}" text-anchor="end">{escape(arm)}</text>'
        )
        for line in lines:
            parts += _mark(line, shares.index(line.replay) % 3, y, [x(one) for one in dots[line.arm, line.replay]], x)
            y += _ROW
        y += 8
    return figure(_title(result), _WIDTH, height, parts)


def _title(result: CompareResult) -> str:
    return f"Accuracy on {result.set}, difference to {result.baseline} in points"


def _value(line: Line) -> float:
    return line.difference.value if line.difference is not None else -math.inf


def _dots(result: CompareResult, line: Line) -> list[float]:
    """Return each seed's difference to the baseline, in points."""
    cells = {(one.arm, one.replay, one.seed): one.accuracy for one in result.scores}
    return [
        (accuracy - cells[result.baseline, replay, seed]) * 100
        for (arm, replay, seed), accuracy in cells.items()
        if (arm, replay) == (line.arm, line.replay) and (result.baseline, replay, seed) in cells
    ]


def _axis(result: CompareResult, dots: Sequence[float]) -> tuple[float, float, float]:
    """Return the ends of the axis in points, and the step between its lines."""
    ends = [0.0, *dots]
    for line in result.lines:
        one = line.difference
        if one is not None and one.low is not None and one.high is not None:
            ends += [one.low * 100, one.high * 100]
    span = max(max(ends) - min(ends), 1.0)
    step = next(one for one in (0.5, 1, 2, 5, 10, 20, 50) if span / one <= 9)
    return math.floor(min(ends) / step) * step, math.ceil(max(ends) / step + 1e-9) * step, step


def _heading(result: CompareResult, shares: Sequence[float]) -> list[str]:
    parts = [f'<text x="16" y="24" font-weight="600">{escape(_title(result))}</text>']
    at = 16
    for number, share in enumerate(shares):
        words = "without replay" if share == 0 else f"with replay {share:g}"
        parts.append(f'<circle class="r{number % 3}" cx="{at + 5}" cy="42" r="5"/>')
        parts.append(f'<text class="faint" x="{at + 15}" y="46">{words}</text>')
        at += 130
    seeds = max(line.accuracy.seeds for line in result.lines)
    words = f"mean of {seeds} seeds, 95 % interval; small dots: seeds"
    parts.append(f'<text class="faint" x="{_WIDTH - 16}" y="46" text-anchor="end">{words}</text>')
    return parts


def _grid(axis: tuple[float, float, float], zero: float, x: Callable[[float], float], height: int) -> list[str]:
    low, high, step = axis
    bottom = height - _BOTTOM + 8
    parts = []
    for number in range(round((high - low) / step) + 1):
        points = low + number * step
        parts.append(f'<line class="grid" x1="{x(points)}" x2="{x(points)}" y1="{_TOP}" y2="{bottom}"/>')
        place = f'x="{x(points)}" y="{bottom + 18}"'
        parts.append(f'<text class="faint" {place} text-anchor="middle">{_signed(points)}</text>')
    parts.append(f'<line class="zero" x1="{zero}" x2="{zero}" y1="{_TOP}" y2="{bottom}"/>')
    return parts


def _signed(points: float) -> str:
    return f"{points:+g}" if points else "0"


def _mark(line: Line, colour: int, y: float, dots: Sequence[float], x: Callable[[float], float]) -> list[str]:
    one = line.difference
    assert one is not None
    parts = [f'<circle class="r{colour} seed" cx="{dot}" cy="{y}" r="3"/>' for dot in dots]
    if one.low is not None and one.high is not None:
        ends = f'x1="{x(one.low * 100)}" x2="{x(one.high * 100)}"'
        parts.append(f'<line class="r{colour} bar" {ends} y1="{y}" y2="{y}"/>')
    parts.append(f'<circle class="r{colour}" cx="{x(one.value * 100)}" cy="{y}" r="5"/>')
    said = f"{one.value * 100:+.1f}  ({line.accuracy.value * 100:.1f} %)"
    parts.append(f'<text class="faint" x="{_WIDTH - 16}" y="{y + 4}" text-anchor="end">{said}</text>')
    return parts
