"""Training: supervised fine-tuning on TRL's trainer, and configurations for trainers that use many cards.

What is trained on is token ids that `template.py` makes, so no template can drop the reasoning on the way. The optional
packages (extra `[train]`) are imported when a training starts.
"""

from __future__ import annotations
