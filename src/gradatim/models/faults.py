"""What `Model.ask` raises. The type says what to do next; the `Fault` inside is what gets stored.

Retry       the same request may succeed: transport faults, 408, 5xx, an answer that is empty, torn or not JSON
Overloaded  the server asks for less: 429, 503; everyone slows down, and waits `retry_after` where it is given
Refused     this request will never succeed: too long for the context, a field or value the server rejects
Stop        no request will succeed until a person has done something: a wrong key, no credit left
"""

from __future__ import annotations

from gradatim.errors import ItemFault
from gradatim.types import Boundary, Fault

MESSAGE_LIMIT = 500
"""Characters of a fault's message that are kept: enough to recognise an error page, too few to fill a library."""


class ModelFault(ItemFault):
    """A try that gave no answer."""

    def __init__(self, reason: str, message: str, *, billed: bool = False, retry_after: float | None = None) -> None:
        """Args say what happened.

        Args:
            reason: a word that a histogram can count: `http_500`, `idle_timeout`, `bad_json`.
            message: one line for a person; cut to `MESSAGE_LIMIT` characters.
            billed: whether the server may have counted tokens for this try. A budget then counts the worst case.
            retry_after: seconds that the server asked us to wait; None where it did not.
        """
        text = " ".join(message.split())[:MESSAGE_LIMIT]
        super().__init__(Fault(boundary=Boundary.MODEL, reason=reason, message=text))
        self.billed = billed
        self.retry_after = retry_after


class Retry(ModelFault):
    """The same request may succeed when it is sent again."""


class Overloaded(ModelFault):
    """The server has too much to do; ask again later, and less at once."""


class Refused(ModelFault):
    """This request will not succeed however often it is sent."""


class Stop(ModelFault):
    """No request will succeed; the message is the sentence the user gets."""
