"""How near the objectives are met, over the last hour; the same shares that the alerts of files/alerts.yaml watch."""

from __future__ import annotations

from typing import Final

from tools.dashboards.grafana import Panel, ratio

_HOUR: Final = "[1h]"


def _rate(metric: str, matchers: str = "") -> str:
    selector = f"@,{matchers}" if matchers else "@"
    return f"sum(rate({metric}{{{selector}}}{_HOUR}))"


SIGN_INS: Final[Panel] = ratio(
    "Sign-ins that succeed",
    "REGISTER requests of the last hour that did not fail because a service was away. Objective: 99.9%.",
    _rate("parley_frontend_registers_total", 'outcome="ok"'),
    _rate("parley_frontend_registers_total", 'outcome=~"ok|failed"'), good_from=0.999, fair_from=0.99,
)  # fmt: skip
SIGN_IN_TIME: Final[Panel] = ratio(
    "Sign-ins within 0.5 s", "Sign-ins of the last hour that took half a second at most. Objective: 99%.",
    _rate("parley_frontend_register_seconds_bucket", 'le="0.5"'), _rate("parley_frontend_register_seconds_count"),
    good_from=0.99, fair_from=0.95,
)  # fmt: skip
CALLS: Final[Panel] = ratio(
    "Calls that can be set up",
    "Calls of the last hour whose set-up did not fail by the fault of a server (430, 5xx); busy and unanswered ones are "
    "fine. Objective: 99.5%.",
    _rate("parley_frontend_call_setups_total", 'outcome!="failed"'), _rate("parley_frontend_call_setups_total"),
    good_from=0.995, fair_from=0.98,
)  # fmt: skip
PRESENCE: Final[Panel] = ratio(
    "Presence within 2.5 s", "Notifications of the last hour that left within 2.5 seconds of the change. Objective: 99%.",
    _rate("parley_presence_fanout_seconds_bucket", 'le="2.5"'), _rate("parley_presence_fanout_seconds_count"),
    good_from=0.99, fair_from=0.95,
)  # fmt: skip
RELAY: Final[Panel] = ratio(
    "Allocations granted", "Requests for an allocation of the last hour that the relay did not refuse by its own fault "
    "(500, 508). Objective: 99.5%.",
    _rate("parley_relay_allocation_requests_total", 'outcome="granted"'),
    _rate("parley_relay_allocation_requests_total", 'outcome=~"granted|failed"'), good_from=0.995, fair_from=0.98,
)  # fmt: skip
