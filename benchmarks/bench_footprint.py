"""What `pip install gradatim` brings: packages, size on disk, and how soon `gradatim --help` answers.

python benchmarks/bench_footprint.py [--python PYTHON]

Installs this checkout with the pinned versions of constraints.txt and no extras into a fresh environment in a temporary
folder. Needs a package index, or what pip is configured to use in its place. Size is what the files take up on
the disk, compiled bytecode included, without the environment's own pip and setuptools.

Targets: at most 30 packages and 160 MB (10**6 bytes), no torch, and `gradatim --help` within 0.4 s, best of five.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"pip", "setuptools", "wheel"}
PACKAGES, MEGABYTES, HELP_SECONDS = 30, 160.0, 0.4


def run(*command: str | Path) -> str:
    """Run a command; return what it printed. Ends this program, with what it said, where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:6]))} ... ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def install(python: str, environment: Path) -> list[tuple[str, str]]:
    """Make an environment and install the checkout; return the names and versions of what is in it then."""
    run(python, "-m", "venv", environment)
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--constraint", ROOT / "constraints.txt", ROOT)
    found = json.loads(run(*pip, "list", "--format", "json"))
    return [(row["name"], row["version"]) for row in found if row["name"].lower() not in TOOLS]


def megabytes(environment: Path) -> float:
    """Return the disk space of what was installed."""
    (packages,) = environment.glob("lib/python*/site-packages")
    ours = [
        path
        for path in packages.rglob("*")
        if path.is_file() and path.relative_to(packages).parts[0].partition("-")[0] not in {*TOOLS, "_distutils_hack"}
    ]
    return sum(path.stat().st_blocks * 512 for path in ours) / 1e6


def help_seconds(environment: Path, times: int = 5) -> list[float]:
    """Return how long `gradatim --help` took, each time in a process of its own."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run(environment / "bin" / "gradatim", "--help")
        taken.append(time.perf_counter() - start)
    return taken


def main() -> int:
    """Print the table. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="The interpreter of the environment.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        environment = Path(place) / "environment"
        packages = install(options.python, environment)
        size = megabytes(environment)
        taken = help_seconds(environment)
    torch = [name for name, _ in packages if name.lower().startswith(("torch", "nvidia", "triton"))]
    table = (
        ("packages", f"{len(packages)}", f"at most {PACKAGES}", len(packages) <= PACKAGES),
        ("size on disk", f"{size:.1f} MB", f"at most {MEGABYTES:.0f} MB", size <= MEGABYTES),
        ("torch", ", ".join(torch) or "none", "none", not torch),
        ("gradatim --help", f"{min(taken):.3f} s", f"at most {HELP_SECONDS} s", min(taken) <= HELP_SECONDS),
    )
    print(f"{'what':<18}{'found':>12}   {'target':<18}")
    for what, found, target, met in table:
        print(f"{what:<18}{found:>12}   {target:<18}{'met' if met else 'MISSED'}")
    print(f"--help, all runs: {', '.join(f'{one:.3f}' for one in taken)} s")
    print(f"packages: {', '.join(f'{name} {version}' for name, version in packages)}")
    return int(not all(met for *_, met in table))


if __name__ == "__main__":
    sys.exit(main())
