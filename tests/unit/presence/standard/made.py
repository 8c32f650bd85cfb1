"""What Hypothesis makes documents of."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import LAST_TIME, MAX_NUMBER, clean

texts = st.text(max_size=20).map(lambda text: clean(text).strip())
"""Text that XML can hold, without blanks around it."""
full_texts = texts.filter(bool)
times = st.integers(0, int(LAST_TIME) - 1).flatmap(lambda s: st.integers(0, 999).map(lambda ms: round(s + ms / 1000, 3)))
maybe_times = st.none() | times
numbers = st.integers(0, MAX_NUMBER)
maybe_numbers = st.none() | numbers
tokens = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-._~", min_size=1, max_size=12)


def refused(parser: object, data: bytes | str) -> str:
    """The text of the error that a parser gives."""
    assert callable(parser)
    with pytest.raises(DocumentError) as caught:
        parser(data)
    return str(caught.value)


def tuples_of(values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    """Tuples of a few values."""
    return st.lists(values, max_size=most).map(tuple)
