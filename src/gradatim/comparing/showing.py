"""A comparison's table, for a terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatim.comparing.compare import CompareResult
    from gradatim.method.comparison import Line, Mean

COLUMNS = ("arm", "replay", "seeds", "accuracy", "difference", "95 % interval", "kept", "gained", "steps", "tokens")


def rows(result: CompareResult) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    return [
        (
            line.arm,
            f"{line.replay:g}",
            str(line.accuracy.seeds),
            _with_error(line.accuracy),
            "baseline" if line.arm == result.baseline else _signed(line.difference),
            _interval(line.difference),
            _share(line.kept),
            _share(line.gained),
            f"{line.steps:,.0f}",
            f"{line.tokens:,.0f}",
        )
        for line in result.lines
    ]


def sentences(result: CompareResult) -> list[str]:
    """Return what is to be known beside the table."""
    clear = [line for line in result.lines if _clear(line)]
    compared = sum(line.difference is not None and line.difference.low is not None for line in result.lines)
    before = f"{result.model} before training: {result.base:.1%} of {result.questions:,} questions of {result.set!r}."
    difference = f"difference: accuracy minus that of {result.baseline} with the same replay and seed, in points;"
    kept = "kept: of the questions that the base model answers, the share still answered after training;"
    return [
        f"{before} Each arm: {result.chains:,} chains, {result.steps:,} steps.",
        f"{difference} interval: Student's t over the seeds.",
        f"{kept} gained: of the others, the share answered then.",
        f"{len(clear)} of {compared} intervals exclude zero; of intervals like these, one in twenty does by chance."
        if compared
        else "There is no interval, which takes an arm beside the baseline and two seeds: all of it may be chance.",
        *notes(result),
    ]


def notes(result: CompareResult) -> list[str]:
    """Say what arms could not have as they ask for it."""
    found: dict[str, tuple[str, ...]] = {line.arm: line.notes for line in result.lines if line.notes}
    said = [f"{arm}: {'; '.join(words)}." for arm, words in found.items()]
    short = [line for line in result.lines if line.replayed + 0.5 < line.replay * line.chains]
    return said + [
        f"{line.arm} with replay {line.replay:g}: {line.replayed:,.0f} answers are there to replay, of "
        f"{line.replay * line.chains:,.0f}; the steps are the same all the same."
        for line in short
    ]


def markdown(result: CompareResult, plot: str | None = None) -> str:
    """Return a page with the table, what it says, and a link to the plot."""
    lines = [
        f"# {result.name}: {result.model} on {result.set}",
        "",
        *([f"![{result.name}]({plot})", ""] if plot else []),
    ]
    lines += [f"| {' | '.join(COLUMNS)} |", "|:---|---:|---:|---:|---:|:---:|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows(result)]
    return "\n".join([*lines, "", *(f"* {sentence}" for sentence in sentences(result)), ""])


def _clear(line: Line) -> bool:
    one = line.difference
    return one is not None and one.low is not None and one.high is not None and not one.low <= 0 <= one.high


def _with_error(mean: Mean) -> str:
    error = "" if mean.error is None else f" ± {mean.error * 100:.1f}"
    return f"{mean.value * 100:.1f}{error}"


def _signed(mean: Mean | None) -> str:
    return "-" if mean is None else f"{mean.value * 100:+.1f}"


def _interval(mean: Mean | None) -> str:
    return (
        "-"
        if mean is None or mean.low is None or mean.high is None
        else f"{mean.low * 100:+.1f} to {mean.high * 100:+.1f}"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"
