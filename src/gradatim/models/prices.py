"""What some teachers cost, as their vendors' pages said on a day: a starting point to copy from.

Nothing is charged by it: a price counts only where it stands in the settings. Where a page has peak and off-peak
prices, the peak ones are here, so that a budget errs by stopping early; prices for batches, for long prompts and for
filling a cache are left out. What could not be read on a vendor's page is not listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.models.budget import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One model's price as a page had it."""

    model: str
    price: Price
    currency: str
    """The page's own."""
    read: str
    """The day on which the page said so."""
    source: str
    note: str = ""

    @property
    def line(self) -> str:
        """The price as it stands in gradatim.toml."""
        parts = {"input": self.price.input, "cached_input": self.price.cached_input, "output": self.price.output}
        return f"price = {{ {', '.join(f'{key} = {value:g}' for key, value in parts.items() if value is not None)} }}"


_DEEPSEEK = "https://api-docs.deepseek.com/quick_start/pricing"
_ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"
PRICES = (
    Listed(
        model="deepseek-flash",
        price=Price(input=0.30, cached_input=0.006, output=1.20),
        currency="USD",
        read="2026-11-15",
        source=_DEEPSEEK,
        note="peak price; off-peak is half of it",
    ),
    Listed(
        model="deepseek-v4-pro",
        price=Price(input=1.32, cached_input=0.044, output=3.96),
        currency="USD",
        read="2026-11-15",
        source=_DEEPSEEK,
        note="peak price; off-peak is half of it",
    ),
    Listed(
        model="claude-opus-5-5",
        price=Price(input=4.0, cached_input=0.20, output=20.0),
        currency="USD",
        read="2026-10-24",
        source=_ANTHROPIC,
    ),
    Listed(
        model="claude-sonnet-5-5",
        price=Price(input=2.0, output=10.0),
        currency="USD",
        read="2026-10-24",
        source=_ANTHROPIC,
    ),
)
