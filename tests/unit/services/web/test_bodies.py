"""Versions that a request demands or has, and what goes compressed (RFC 9110)."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.web.bodies import expected_version, has_already
from services.web.errors import HttpError
from services.web.guarding_pages import compress


def request(*headers: tuple[str, str]) -> web.Request:
    """With some headers."""
    asked: web.Request = make_mocked_request("GET", "/", headers=CIMultiDict(headers))
    return asked


@pytest.mark.parametrize(
    ("demanded", "known"),
    [
        ([], None), (["*"], None), (['"3"'], 3), (['W/"3"'], 3), (['"1", "3"'], 3), (['"1"', 'W/"2" ,"3"'], 3),
        (['"a,b","3"'], 3), (['"2"'], 0), (["3"], 0), ([""], 0), (['"3'], 0), (['"1", "2"'], 0), (['"03"'], 0),
        (['"1"', "*"], 0), (["x" * 8_000], 0),
    ],
)  # fmt: skip
def test_a_version_that_is_demanded(demanded: list[str], known: int | None) -> None:
    """``known``: 0 where it is another."""
    asked = request(*(("If-Match", text) for text in demanded))
    if known == 0:
        with pytest.raises(HttpError) as refused:
            expected_version(asked, 3)
        assert refused.value.status == 412
    else:
        assert expected_version(asked, 3) == known


def test_what_a_client_has() -> None:
    for text, tag, known in (
        ('"3"', 3, True), ('W/"3"', 3, True), ('"1", "3"', 3, True), ("*", 3, True), ('"2"', 3, False), ("3", 3, False),
        ('W/"ab"', '"ab"', True), ('"a"', '"ab"', False),
    ):  # fmt: skip
        assert has_already(request(("If-None-Match", text)), tag) is known
    assert not has_already(request(), 3)


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("x-gzip", True), ("gzip;q=1.0", True),
        ("gzip; q=0.001", True),
        ("", False), ("gzip;q=0", False), ("gzip; q=0.000", False), ("*;q=0", False), ("gzip;q=0, *", False),
        ("br", False), ("identity", False), ("notgzip", False),
    ],
)  # fmt: skip
def test_what_goes_compressed(accepted: str, is_taken: bool) -> None:
    response = web.Response(text="x" * 5_000, headers={"ETag": '"3"'})
    compress(request(("Accept-Encoding", accepted)), response)
    assert response.compression is is_taken
    assert response.headers["ETag"] == ('W/"3"' if is_taken else '"3"')
    assert response.headers["Vary"] == "Accept-Encoding"
    weak = web.Response(text="x" * 5_000, headers={"ETag": 'W/"3"'})
    compress(request(("Accept-Encoding", accepted)), weak)
    assert weak.headers["ETag"] == 'W/"3"'
