"""What each alert is to fire at, and what it is not to fire at, as series for ``promtool test rules``.

Series take a sample every 30 seconds; "0+3x60" begins at 0 and grows by 3, 60 times. ``@`` stands for the labels that every
target of a release has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

TARGET: Final = {"job": "parley", "namespace": "voice", "release": "parley", "pod": "parley-x-1"}
RELEASE: Final = {"namespace": "voice", "release": "parley"}
POD: Final = {**RELEASE, "pod": "parley-x-1"}

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Series, and the alerts of one name that fire ``minutes`` after they began, by their labels."""

    alert: str
    what: str
    series: Series
    fires: tuple[dict[str, str], ...] = ()
    minutes: int = 40
    step: str = "30s"
    """Time between two samples and two evaluations."""


@dataclass(frozen=True)
class Objective:
    """An objective: the counter of all that counts, that of what went wrong (or of what went right), and the budget."""

    alert: str
    sli: str
    budget: float
    whole: str
    part: str
    part_is_good: bool = False

    def _series(self, share: float, per_step: float, steps: int) -> Series:
        """``share`` of what counts goes wrong."""
        bad = share * per_step
        part = per_step - bad if self.part_is_good else bad
        whole = per_step if self.part_is_good else per_step - bad
        return {self.whole: f"0+{whole}x{steps}", self.part: f"0+{part}x{steps}"}

    def cases(self) -> Iterator[Case]:
        """Fast and slow spending of the budget, spending within it, and few requests."""
        critical = {**RELEASE, "job": "parley", "sli": self.sli, "severity": "critical"}
        warning = {**critical, "severity": "warning"}
        fast, slow = 16 * self.budget, 2 * self.budget
        half_a_day = 12 * 60  # longer windows hold what there is
        yield Case(self.alert, "spends its budget in hours", self._series(fast, 60, 140), (critical, warning), 65)
        yield Case(self.alert, "spends it in days", self._series(slow, 600, 150), (warning,), half_a_day, "5m")
        yield Case(self.alert, "keeps it", self._series(self.budget / 2, 600, 150), (), half_a_day, "5m")
        yield Case(self.alert, "has nothing to do", self._series(1, 0.01, 140), (), 65)


OBJECTIVES: Final = (
    Objective("ParleySignInsFail", "sign-in", 0.001, 'parley_frontend_registers_total{@,outcome="ok"}',
              'parley_frontend_registers_total{@,outcome="failed"}'),
    Objective("ParleySignInsSlow", "sign-in-time", 0.01, "parley_frontend_register_seconds_count{@}",
              'parley_frontend_register_seconds_bucket{@,le="0.5"}', part_is_good=True),
    Objective("ParleyCallsFail", "call-setup", 0.005, 'parley_frontend_call_setups_total{@,outcome="answered"}',
              'parley_frontend_call_setups_total{@,outcome="failed"}'),
    Objective("ParleyPresenceLate", "presence-time", 0.01, "parley_presence_fanout_seconds_count{@}",
              'parley_presence_fanout_seconds_bucket{@,le="2.5"}', part_is_good=True),
    Objective("ParleyRelayRefuses", "relay", 0.005, 'parley_relay_allocation_requests_total{@,outcome="granted"}',
              'parley_relay_allocation_requests_total{@,outcome="failed"}'),
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """An alert at which one set of series fires and another does not."""

    alert: str
    bad: Series
    labels: dict[str, str]
    good: Series = field(default_factory=dict)
    severity: str = "warning"
    minutes: int = 40

    def cases(self) -> Iterator[Case]:
        """Both."""
        labels = {**self.labels, "severity": self.severity}
        yield Case(self.alert, "is what it is for", self.bad, (labels,), self.minutes)
        yield Case(self.alert, "is fine", self.good, (), self.minutes)


_SENT: Final = 'parley_frontend_answers_total{@,status="200"}'
_AWAY: Final = 'parley_frontend_answers_total{@,status="503"}'
_UP: Final = {"up{@}": "1x120"}

PAIRS: Final = (
    Pair("ParleyAnswers503", {_SENT: "0+90x120", _AWAY: "0+10x120"}, RELEASE,
         {_SENT: "0+90x120", _AWAY: "0+10x120", 'parley_frontend_limited_total{@,limit="user_requests"}': "0+10x120"}),
    Pair("ParleyApplicationFails",
         {'parley_application_requests_total{@,application="presence",status="500"}': "0+10x120",
          'parley_application_requests_total{@,application="presence",status="200"}': "0+90x120"},
         {**RELEASE, "application": "presence"},
         {'parley_application_requests_total{@,application="presence",status="500"}': "0+1x120",
          'parley_application_requests_total{@,application="presence",status="200"}': "0+99x120"}),
    Pair("ParleyWebFails",
         {'parley_web_requests_total{@,status="503"}': "0+2x120", 'parley_web_requests_total{@,status="200"}': "0+8x120"},
         RELEASE, {'parley_web_requests_total{@,status="404"}': "0+9x120"}),
    Pair("ParleyLimitsRefuse", {'parley_frontend_limited_total{@,limit="connections"}': "0+300x120"},
         {**RELEASE, "limit": "connections"},
         {'parley_frontend_limited_total{@,limit="draining"}': "0+900x120",
          'parley_web_limited_total{@,limit="requests"}': "0+30x120"}),
    Pair("ParleyLimitsRefuse", {'parley_relay_refused_total{@,dialect="turn",method="allocate",code="486"}': "0+60x120"},
         {**RELEASE, "limit": "allocations"},
         {'parley_relay_refused_total{@,dialect="turn",method="allocate",code="401"}': "0+900x120"}),
    Pair("ParleyPasswordsGuessed", {'parley_frontend_authentications_total{@,outcome="failed"}': "0+90x120"}, RELEASE,
         {'parley_frontend_authentications_total{@,outcome="challenged"}': "0+900x120",
          'parley_web_sign_ins_total{@,scheme="basic",outcome="failed"}': "0+9x120"}),
    Pair("ParleyRelayDrops",
         {'parley_relay_dropped_total{@,cause="slow_reader"}': "0+600x120",
          'parley_relay_receive_buffer_errors_total{@,family="ipv4"}': "0+0x120"}, POD,
         {'parley_relay_dropped_total{@,cause="garbage"}': "0+6000x120",
          'parley_relay_dropped_total{@,cause="slow_reader"}': "0+9x120",
          'parley_relay_receive_buffer_errors_total{@,family="ipv4"}': "0+9x120"}),
    Pair("ParleyEdgeNotReached", {'parley_relay_self_test{@,host="192.0.2.1"}': "0x120"}, {**POD, "host": "192.0.2.1"},
         {'parley_relay_self_test{@,host="192.0.2.1"}': "1x120"}),
    Pair("ParleyRelayWorkersDie", {"parley_relay_workers_lost_total{@}": "0x70 1x50"}, POD,
         {"parley_relay_workers_lost_total{@}": "1x120"}),
    Pair("ParleyRedisAway", {'parley_store_connects_total{@,outcome="failed"}': "0+15x120"}, POD,
         # a server that is started anew is away for some seconds
         {'parley_store_connects_total{@,outcome="failed"}': "0x70 12x50"}, "critical"),
    Pair("ParleyEventBusAway", {'parley_events_published_total{@,topic="parley.calls",outcome="failed"}': "0+2x120"},
         RELEASE,
         {'parley_events_published_total{@,topic="parley.calls",outcome="ok"}': "0+90x120",
          'parley_events_published_total{@,topic="parley.calls",outcome="failed"}': "0x70 1x50"}, "critical"),
    Pair("ParleyEventBusAway", {'parley_events_read_failures_total{@,topic="parley.calls"}': "0+9x120"}, RELEASE,
         {'parley_events_read_failures_total{@,topic="parley.calls"}': "9x120"}, "critical"),
    Pair("ParleyEventsWait", {"parley_events_waiting{@}": "500x120"}, POD, {"parley_events_waiting{@}": "5x120"}),
    Pair("ParleyOutboxGrows", {'parley_outbox_waiting{@,service="presence"}': "2000+10x120"},
         {**RELEASE, "service": "presence"}, {'parley_outbox_waiting{@,service="presence"}': "90000-100x120"}),
    Pair("ParleyDirectoryNotRead", {'parley_directory_syncs_total{@,source="corp",outcome="failed"}': "0+1x120"},
         {**RELEASE, "source": "corp"},
         {'parley_directory_syncs_total{@,source="corp",outcome="failed"}': "0+1x120",
          'parley_directory_syncs_total{@,source="corp",outcome="ok"}': "0x20 1x100",
          'parley_directory_syncs_total{@,source="new",outcome="failed"}': "0x70 1x50"}),
    Pair("ParleyEventsLost", {"parley_frontend_facts_lost_total{@}": "0x70 3x50"}, {**RELEASE, "what": "facts of calls"},
         {"parley_frontend_facts_lost_total{@}": "3x120"}, "critical"),
    Pair("ParleyEventsLost",
         {'parley_events_handled_total{@,topic="parley.users",outcome="dead"}': "0x70 1x50"},
         {**RELEASE, "topic": "parley.users", "what": "parley.users"},
         {'parley_events_handled_total{@,topic="parley.users",outcome="failed"}': "0+1x120"}, "critical"),
    Pair("ParleyEventsLost", {'parley_outbox_dropped_total{@,service="registrar",reason="overflow"}': "0+9x120"},
         {**RELEASE, "service": "registrar", "what": "registrar"}, {}, "critical"),
    Pair("ParleyConsumersBehind", {'parley_events_lag{@,topic="parley.presence",group="presence"}': "5000x120"},
         {**RELEASE, "topic": "parley.presence", "group": "presence"},
         {'parley_events_lag{@,topic="parley.presence",group="presence"}': "50x120"}),
    Pair("ParleyConsumersBehind",
         {'parley_events_delay_seconds_bucket{@,topic="parley.calls",le="30.0"}': "0+1x120",
          'parley_events_delay_seconds_bucket{@,topic="parley.calls",le="60.0"}': "0+9x120",
          'parley_events_delay_seconds_bucket{@,topic="parley.calls",le="+Inf"}': "0+9x120"},
         {**RELEASE, "topic": "parley.calls"},
         {'parley_events_delay_seconds_bucket{@,topic="parley.calls",le="1.0"}': "0+9x120",
          'parley_events_delay_seconds_bucket{@,topic="parley.calls",le="+Inf"}': "0+9x120"}),
    Pair("ParleyAbsent", {'up{job="other"}': "1x120"}, {"job": "parley"}, _UP, "critical"),
    Pair("ParleyProcessDown", {'up{@,instance="10.0.0.1:9464"}': "1x60 0x60"}, {**POD, "instance": "10.0.0.1:9464"}, _UP,
         "critical"),
    Pair("ParleyProcessNotReady", {"parley_process_ready{@}": "0x120"}, POD, {"parley_process_ready{@}": "1x60 0x20 1x40"}),
    Pair("ParleyStartWaits", {'parley_process_waiting{@,what="Redis"}': "1x120"}, {**POD, "what": "Redis"},
         {'parley_process_waiting{@,what="Redis"}': "1x75 0x45"}, "critical"),
    Pair("ParleyTasksFail", {'parley_process_failed_tasks_total{@,task="route"}': "0x70 1x50"}, {**POD, "task": "route"},
         {'parley_process_failed_tasks_total{@,task="route"}': "4x120"}),
    Pair("ParleyProcessBusy", {"process_cpu_seconds_total{@}": "0+29x120"}, POD,
         {"process_cpu_seconds_total{@}": "0+20x120"}),
    Pair("ParleyLeaseLost", {'parley_frontend_lease_held{@,edge="e1"}': "1x70 0x50"}, {**POD, "edge": "e1"},
         {'parley_frontend_lease_held{@,edge="e1"}': "1x120"}, "critical"),
    Pair("ParleyVersionsMixed",
         {'parley_build_info{@,version="1.0"}': "1x600", 'parley_build_info{@,version="1.1"}': "1x600"}, RELEASE,
         {'parley_build_info{@,version="1.1"}': "1x600"}, "info", 200),
    Pair("ParleyPodNotReady", {'kube_pod_status_ready{namespace="voice",pod="parley-web-1",condition="true"}': "0x120"},
         {"namespace": "voice", "pod": "parley-web-1"},
         {'kube_pod_status_ready{namespace="voice",pod="parley-init-storage-1",condition="true"}': "0x120",
          'kube_pod_status_phase{namespace="voice",pod="parley-init-storage-1",phase="Succeeded"}': "1x120",
          'kube_pod_status_ready{namespace="voice",pod="other-1",condition="true"}': "0x120"}),
    Pair("ParleyPodRestarts",
         {'kube_pod_container_status_restarts_total{namespace="voice",pod="parley-web-1",container="parley"}': "0+1x120"},
         {"namespace": "voice", "pod": "parley-web-1", "container": "parley"},
         {'kube_pod_container_status_restarts_total{namespace="voice",pod="parley-web-1",container="parley"}': "0x70 1x50"},
         "critical"),
    Pair("ParleyTooFewPods",
         {'kube_deployment_status_replicas_available{namespace="voice",deployment="parley-web"}': "1x120",
          'kube_deployment_spec_replicas{namespace="voice",deployment="parley-web"}': "2x120"},
         {"namespace": "voice", "deployment": "parley-web"},
         {'kube_deployment_status_replicas_available{namespace="voice",deployment="parley-web"}': "2x120",
          'kube_deployment_spec_replicas{namespace="voice",deployment="parley-web"}': "2x120"}),
)  # fmt: skip

_FILE: Final = "/etc/parley/secrets/client/tls.crt"
_ENDS: Final = f'parley_tls_certificate_expires_timestamp_seconds{{@,file="{_FILE}"}}'
_CERTIFICATE: Final = {**RELEASE, "file": _FILE}
_DAY: Final = 86_400

CERTIFICATES: Final = (  # promtool's clock begins at 0
    Case("ParleyCertificateExpires", "ends in a month", {_ENDS: f"{30 * _DAY}x240"}, (), 100),
    Case("ParleyCertificateExpires", "ends in ten days", {_ENDS: f"{10 * _DAY}x240"},
         ({**_CERTIFICATE, "severity": "warning"},), 100),
    Case("ParleyCertificateExpires", "ends in two days", {_ENDS: f"{2 * _DAY}x240"},
         ({**_CERTIFICATE, "severity": "critical"}, {**_CERTIFICATE, "severity": "warning"}), 100),
)  # fmt: skip


def all_cases() -> list[Case]:
    """Every case there is."""
    parts: list[Objective | Pair] = [*OBJECTIVES, *PAIRS]
    return [*(case for part in parts for case in part.cases()), *CERTIFICATES]
