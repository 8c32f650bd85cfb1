"""Proxy behaviour (RFC 3261 section 16) without I/O: validation, routes, targets, forking, best response."""

from parley.sip.proxy.abandon import make_ack, make_bye
from parley.sip.proxy.branch import DEFAULT_FORK_SETTINGS, REASON_ELSEWHERE, REASON_TIMEOUT, ForkSettings
from parley.sip.proxy.errors import ProxyError
from parley.sip.proxy.events import (
    AbandonedAnswer,
    CancelBranch,
    Finished,
    ForkingEvent,
    ForwardResponse,
    StartBranch,
)
from parley.sip.proxy.forking import ForkingContext, ForkingError
from parley.sip.proxy.forwarding import OutgoingVia, PreparedRequest, prepare_request
from parley.sip.proxy.loops import LoopDetector, max_breadth, share_breadth
from parley.sip.proxy.recordroute import (
    DIALOG_FORMING,
    RoutePlan,
    add_record_routes,
    preprocess_routes,
    take_next_hop,
)
from parley.sip.proxy.targets import Target, group_targets
from parley.sip.proxy.validation import validate_request

__all__ = [
    "DEFAULT_FORK_SETTINGS",
    "DIALOG_FORMING",
    "REASON_ELSEWHERE",
    "REASON_TIMEOUT",
    "AbandonedAnswer",
    "CancelBranch",
    "Finished",
    "ForkSettings",
    "ForkingContext",
    "ForkingError",
    "ForkingEvent",
    "ForwardResponse",
    "LoopDetector",
    "OutgoingVia",
    "PreparedRequest",
    "ProxyError",
    "RoutePlan",
    "StartBranch",
    "Target",
    "add_record_routes",
    "group_targets",
    "make_ack",
    "make_bye",
    "max_breadth",
    "prepare_request",
    "preprocess_routes",
    "share_breadth",
    "take_next_hop",
    "validate_request",
]
