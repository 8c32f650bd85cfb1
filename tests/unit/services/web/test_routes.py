"""The table of routes: which row a path comes to."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.web.routes import Route, RouteTable, Urls


async def handler(request: web.Request) -> web.Response:
    """Not asked here."""
    raise AssertionError


PATHS = ("/a", "/a/b", "/users", "/users/{address}", "/users/me", "/users/{address}/photo", "/files/{path...}")
TABLE = RouteTable([Route("GET", path, handler) for path in PATHS] + [Route("PUT", "/users/{address}", handler)])


@pytest.mark.parametrize(
    ("path", "row", "parameters"),
    [
        ("/a", "/a", {}), ("/A/B", "/a/b", {}), ("/%61", "/a", {}),
        ("/users/alice@x", "/users/{address}", {"address": "alice@x"}),
        ("/Users/Alice", "/users/{address}", {"address": "Alice"}),
        ("/users/me", "/users/me", {}), ("/users/%6De", "/users/me", {}),
        ("/users/a%2Fb", "/users/{address}", {"address": "a/b"}),
        ("/users/..%2f..", "/users/{address}", {"address": "../.."}),
        ("/users/x/photo", "/users/{address}/photo", {"address": "x"}),
        ("/files/", "/files/{path...}", {"path": ""}), ("/files/a/b%20c", "/files/{path...}", {"path": "a/b c"}),
        ("/files/../etc", "/files/{path...}", {"path": "../etc"}),
        ("/users/%00", "/users/{address}", {"address": "\0"}), ("/users/%ff", "/users/{address}", {"address": "\ufffd"}),
    ],
)  # fmt: skip
def test_rows(path: str, row: str, parameters: dict[str, str]) -> None:
    found = TABLE.find("GET", path)
    assert found.route is not None
    assert (found.route.path, found.parameters) == (row, parameters)


@pytest.mark.parametrize(
    "path", ["/", "", "/a/", "//a", "/a/b/c", "/users/", "/users//photo", "/a%2Fb", "/users/x/photo/y", "/files", "a"]
)
def test_there_is_nothing_else(path: str) -> None:
    found = TABLE.find("GET", path)
    assert (found.route, found.methods) == (None, ())


def test_another_method_is_told_from_another_path() -> None:
    found = TABLE.find("DELETE", "/users/alice")
    assert (found.route, set(found.methods)) == (None, {"GET", "HEAD", "PUT"})
    assert TABLE.find("GET", "/users/alice").route is not TABLE.find("PUT", "/users/alice").route


def test_what_can_be_got_can_be_asked_for_its_headers() -> None:
    assert TABLE.find("HEAD", "/users/alice").route is TABLE.find("GET", "/users/alice").route
    own = RouteTable([Route("HEAD", "/a", handler), Route("GET", "/a", handler), Route("PUT", "/b", handler)])
    found = own.find("HEAD", "/a")
    assert (found.route is not None and found.route.method, found.methods) == ("HEAD", ("HEAD", "GET"))
    assert own.find("HEAD", "/b").route is None


@pytest.mark.parametrize("pair", [("/a", "/A"), ("/{x}/b", "/{y}/B"), ("/f/{p...}", "/F/{q...}")])
def test_two_rows_for_the_same_requests_are_a_mistake(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="two routes for GET"):
        RouteTable([Route("GET", path, handler) for path in pair])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.text(max_size=5))
def test_parameters_are_what_was_written(address: str, method: str) -> None:
    found = TABLE.find("GET", f"/users/{quote(address, safe='')}/photo")
    assert found.route is not None
    assert found.parameters == {"address": address}


@given(st.text(alphabet="/aAbuser{}.%20Ff", max_size=30))
def test_any_path_comes_to_one_row_or_none(path: str) -> None:
    found = TABLE.find("GET", path)
    assert (found.route is None) == (not found.methods)


def test_urls() -> None:
    urls = Urls("https://[2001:db8::1]:8443")
    assert (urls.host, urls.of("/a")) == ("2001:db8::1", "https://[2001:db8::1]:8443/a")
