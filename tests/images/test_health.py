"""docker/health.py, as a container runs it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.images.dockerfile import ROOT


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()
        self.wfile.write(b"alive\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(data: Path) -> tuple[int, str]:
    # A proxy in the environment must not be asked for what is in the container itself.
    env = {"PARLEY_DATA": str(data), "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-I", str(ROOT / "docker" / "health.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", ""])
def test_one_that_answers_is_healthy(host: str, port: int, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"metrics": f"{host}:{port}"}))
    assert ask(tmp_path) == (0, "alive")


def test_one_that_is_not_up_is_not(tmp_path: Path) -> None:
    assert ask(tmp_path) == (1, f"Parley is not up: {tmp_path}/run.json does not say where it listens")


def test_one_that_died_is_not(port: int, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Metrics) as server:
        free = server.server_address[1]
    (tmp_path / "run.json").write_text(json.dumps({"metrics": f"127.0.0.1:{free}"}))
    code, text = ask(tmp_path)
    assert code == 1
    assert text.startswith(f"http://127.0.0.1:{free}/livez does not answer: ")


@pytest.mark.parametrize("content", ["", "{}", "[", "[]"])
def test_a_file_that_says_nothing_is_not_up(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    code, text = ask(tmp_path)
    assert code == 1
    assert "does not say where it listens" in text
