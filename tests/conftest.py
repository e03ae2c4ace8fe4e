"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background has SIGINT ignored, and every process inherits that; the tests of Ctrl-C
# need the signal as a terminal gives it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
