"""Which tiers this machine can give."""

from __future__ import annotations

import shutil

from gradatim.checkers.sandbox import Box, Tier
from gradatim.checkers.sandbox.box import ForkServer
from gradatim.checkers.sandbox.command import Plan
from gradatim.checkers.sandbox.inside import kernel, syscalls


def opened(tier: Tier) -> Box:
    """Return a box."""
    plan = Plan(
        bubblewrap=shutil.which("bwrap") or "",
        namespaces=False,
        landlock=tier is not Tier.LIMITS,
        seccomp=tier is not Tier.LIMITS,
    )
    return ForkServer(plan)
