"""Where the password of the demo users comes from, and when they get it anew."""

from __future__ import annotations

from pathlib import Path

from services.addressbook.demo import PASSWORD_FILE, demo_password


def test_a_random_password_is_made_once_and_kept_private(tmp_path: Path) -> None:
    password, changed = demo_password(tmp_path, "")
    assert len(password) >= 8
    assert changed
    path = tmp_path / PASSWORD_FILE
    assert path.read_text().strip() == password
    assert path.stat().st_mode & 0o777 == 0o600
    assert demo_password(tmp_path, "") == (password, False)


def test_a_configured_password_goes_before_the_one_kept(tmp_path: Path) -> None:
    demo_password(tmp_path, "")
    assert demo_password(tmp_path, "configured") == ("configured", True)
    assert demo_password(tmp_path, "configured") == ("configured", False)
    assert demo_password(tmp_path, "") == ("configured", False)
