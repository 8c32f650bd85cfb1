"""Registrations: who comes in, how fast, and who is kept out."""

from __future__ import annotations

from typing import Final

from tools.dashboards import objectives
from tools.dashboards.grafana import GREEN, RED, Dashboard, Query, Row, lines, quantiles, rates, stat

BOARD: Final = Dashboard(
    "sign-ins", "Sign-ins",
    "REGISTER from the client to Redis: outcomes, times, credentials, limits.",
    (
        Row("Objectives", (
            objectives.SIGN_INS,
            objectives.SIGN_IN_TIME,
            stat(
                "Bindings",
                "Places at which users are registered, as of the last sweep of a registrar.",
                "short", "max(parley_registrar_bindings{@})",
            ),
            stat(
                "Front ends with a lease",
                "Front ends that others know to live.",
                "short", "sum(parley_frontend_lease_held{@})", lowest=RED, thresholds=((1, GREEN),),
            ),
            stat(
                "Wrong passwords",
                "Passwords a second that were wrong, over SIP (digest).",
                "reqps", 'sum(rate(parley_frontend_authentications_total{@,outcome="failed"}[5m]))',
                thresholds=((2, RED),),
            ),
            stat(
                "REGISTER",
                "REGISTER requests received a second.",
                "reqps", 'sum(rate(parley_frontend_messages_total{@,method="REGISTER"}[5m]))',
            ),
        )),
        Row("REGISTER", (
            rates(
                "Outcomes",
                "REGISTER requests answered a second: ok, challenged (asked for the password), refused (a fault of the "
                "client), limited, failed (a service was away).",
                "parley_frontend_registers_total", "outcome", stacked=True,
            ),
            quantiles(
                "Time to sign in",
                "From a REGISTER to the answer that it is registered.",
                "parley_frontend_register_seconds", thresholds=((0.5, RED),),
            ),
            rates(
                "Answers by status",
                "Final answers to REGISTER a second.",
                "parley_frontend_answers_total", "status", matchers='method="REGISTER"',
            ),
        )),
        Row("Who it is", (
            rates(
                "Digest",
                "Requests judged a second, of all methods: challenged, ok, failed (a wrong password).",
                "parley_frontend_authentications_total", "outcome",
            ),
            rates(
                "Communicator",
                "Handshakes a second of Communicator clients (NTLM, Kerberos, certificates).",
                "parley_frontend_sign_ins_total", "outcome",
            ),
            rates(
                "Signatures",
                "Signed messages a second by verdict; forged and replayed ones are attacks, or broken clients.",
                "parley_frontend_signatures_total", "verdict",
            ),
            rates(
                "Credentials",
                "Look-ups a second, by who answered. Few by the address book is good.",
                "parley_frontend_credential_lookups_total", "from_",
            ),
            rates(
                "Over HTTPS",
                "Passwords checked a second by the web service, by scheme and outcome.",
                "parley_web_sign_ins_total", "scheme, outcome",
            ),
            rates(
                "Certificates",
                "Requests for certificates a second (TLS-DSK).",
                "parley_web_certificates_total", "outcome",
            ),
        )),
        Row("Registrar", (
            rates(
                "Updates",
                "REGISTER requests a second that registrars applied, by outcome.",
                "parley_registrar_updates_total", "outcome",
            ),
            rates(
                "Look-ups",
                "Look-ups of bindings a second, by whether there were any.",
                "parley_registrar_lookups_total", "found",
            ),
            rates(
                "Bindings swept",
                "Bindings a second taken away: expired, or of a front end that is gone.",
                "parley_registrar_swept_total", "cause",
            ),
        )),
        Row("Connections and limits", (
            lines(
                "Flows by transport",
                "Connections and UDP associations at all front ends.",
                "short", Query("sum by (transport) (parley_frontend_flows{@})", "{{transport}}"), stacked=True,
            ),
            lines(
                "Flows by front end",
                "Connections and UDP associations of each front end.",
                "short", Query("sum by (pod) (parley_frontend_flows{@})", "{{pod}}"),
            ),
            rates(
                "Refused by limits",
                "What limits of the front ends refuse a second.",
                "parley_frontend_limited_total", "limit",
            ),
            rates(
                "Malformed",
                "Messages a second that are no SIP, by the status they were answered with.",
                "parley_frontend_malformed_total", "status",
            ),
            rates(
                "Refused by limits of the web service",
                "Requests and connections a second.",
                "parley_web_limited_total", "limit",
            ),
            lines(
                "Leases",
                "1 while a front end holds its lease. At 0 its clients cannot be called.",
                "short", Query("min by (pod, edge) (parley_frontend_lease_held{@})", "{{pod}} {{edge}}"), most=1,
            ),
        )),
    ),
)  # fmt: skip
