"""What the page says of a user's fault: one message."""

from collections.abc import Callable
from html import escape

from entracte.errors import EntracteError


def fault_html(error: EntracteError) -> str:
    """The message, as HTML."""
    return f'<p class="said" role="alert">{escape(str(error))}</p>'


def said(call: Callable[[], object]) -> str:
    """Nothing, or the message of the fault that the call met, as HTML."""
    try:
        call()
    except EntracteError as error:
        return fault_html(error)
    return ""
