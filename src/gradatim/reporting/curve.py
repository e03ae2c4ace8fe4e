"""A calibration as a picture: pass rate by PRM score, of all questions and of wrong ones, with the cuts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gradatim.reporting.figure import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.method.calibration import Bin

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 62, 24, 64, 52
_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def svg(title: str, groups: Sequence[tuple[str, Sequence[Bin]]], cuts: Sequence[float]) -> str:
    """Return the picture: one curve for each named group of bins, three at most, with two standard errors."""
    parts = [f'<text x="16" y="24" font-weight="600">{escape(title)}</text>', *_axes()]
    parts += [f'<line class="cut" x1="{_x(cut)}" x2="{_x(cut)}" y1="{_TOP}" y2="{_y(0)}"/>' for cut in cuts]
    if cuts:
        parts.append(f'<text class="faint" x="{_WIDTH - 16}" y="46" text-anchor="end">dashed: cuts</text>')
    at = 16
    for number, (words, bins) in enumerate(groups):
        parts.append(f'<circle class="r{number}" cx="{at + 5}" cy="42" r="5"/>')
        parts.append(f'<text class="faint" x="{at + 15}" y="46">{escape(words)}</text>')
        at += 40 + 7 * len(words)
        parts += _curve(number, bins)
    return figure(title, _WIDTH, _HEIGHT, parts)


def _x(score: float) -> float:
    return round(_LEFT + score * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(rate: float) -> float:
    return round(_HEIGHT - _BOTTOM - rate * (_HEIGHT - _TOP - _BOTTOM), 1)


def _axes() -> list[str]:
    parts = []
    for value in _FIFTHS:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_x(1)}" y1="{_y(value)}" y2="{_y(value)}"/>')
        parts.append(f'<text class="faint" x="{_LEFT - 8}" y="{_y(value) + 4}" text-anchor="end">{value:g}</text>')
        parts.append(f'<text class="faint" x="{_x(value)}" y="{_y(0) + 18}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _x(1)) / 2
    parts.append(f'<text class="faint" x="{middle}" y="{_y(0) + 38}" text-anchor="middle">mean PRM score</text>')
    turned = f'transform="rotate(-90)" x="{-(_TOP + _y(0)) / 2}" y="20"'
    parts.append(f'<text class="faint" {turned} text-anchor="middle">pass rate of other attempts</text>')
    return parts


def _curve(number: int, bins: Sequence[Bin]) -> list[str]:
    places = " ".join(f"{_x(one.score)},{_y(one.rate)}" for one in bins)
    parts = [f'<polyline class="r{number} curve" points="{places}"/>']
    for one in bins:
        x, spread = _x(one.score), 2 * (one.error or 0)
        high, low = _y(min(1, one.rate + spread)), _y(max(0, one.rate - spread))
        parts.append(f'<line class="r{number} bar" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
        parts.append(f'<circle class="r{number}" cx="{x}" cy="{_y(one.rate)}" r="4"/>')
    return parts
