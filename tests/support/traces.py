"""What traces must look like, wherever they were found: the telemetry contract."""

from __future__ import annotations

from parley.platform.telemetry.contract import rule_of
from tests.support.jaeger import JaegerSpan


def path_to_root(spans: list[JaegerSpan], name: str) -> list[str]:
    """Names from a span up to the beginning of its trace."""
    by_id = {span.span_id: span for span in spans}
    span: JaegerSpan | None = next(span for span in spans if span.name == name)
    names = []
    while span is not None:
        names.append(span.name)
        span = by_id.get(span.parent_id)
    return names


def check_contract(spans: list[JaegerSpan]) -> None:
    """Every span is in the table, with its attributes, below a parent it may have."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        rule = rule_of(span.name)
        assert rule is not None, f"{span.name} is not in the contract"
        missing = [name for name in rule.attributes if name not in span.tags and name != "sip.branch"]
        assert not missing, f"{span.name} has no {missing}"
        parent = by_id.get(span.parent_id)
        parent_rule = rule_of(parent.name) if parent is not None else None
        assert (parent_rule.name if parent_rule else "") in rule.parents, f"{span.name} below {parent and parent.name}"
