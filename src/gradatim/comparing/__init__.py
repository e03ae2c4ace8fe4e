"""Compare: ways to choose questions, at equal budgets of chains and equal training steps, held against random.

What the paper claims of its mixes (arXiv 2504.11919, its tables of trained models) as an experiment that anyone can
repeat on their own pool and model. It stands on the stages; nothing here asks, trains or judges in a way of its own.
"""

from __future__ import annotations
