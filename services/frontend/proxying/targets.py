"""From bindings to targets: which flows of which devices a request is tried at, and in which order.

Bindings of one instance (RFC 5626 reg-ids) are one device: its newest flow is tried first, the others only when that
one is gone. A binding whose front end holds no lease any more has no flow to try: a device that has no other is tried at
its last one all the same, as that is how it is waited for (see `services.frontend.proxying.returning`).
"""

from __future__ import annotations

from collections.abc import Iterable

from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.proxy.targets import Target
from services.frontend.proxying.branches import FlowRef


def flow_of(binding: Binding) -> FlowRef:
    """Where a binding is reached."""
    return FlowRef(binding.flow.edge_uid, binding.flow.connection_id, binding.edge_address)


def targets_of(bindings: Iterable[Binding], method: str) -> list[Target]:
    """Targets for a request of that method, from the live bindings of its address of record."""
    devices: dict[object, list[Binding]] = {}
    for binding in bindings:
        if not _takes(binding, method):
            continue
        device = binding.instance or (binding.contact, binding.flow.edge_uid, binding.flow.connection_id)
        devices.setdefault(device, []).append(binding)
    targets = []
    for known in devices.values():
        known.sort(key=lambda b: (b.q_milli, b.expires_at_ms), reverse=True)
        flows = [binding for binding in known if binding.edge_address] or known[:1]
        first, *others = (_target(binding) for binding in flows)
        targets.append(Target(first.uri, first.q, first.route, first.flow, tuple(others)))
    return targets


def _target(binding: Binding) -> Target:
    return Target(
        uri=binding.contact,
        q=binding.q_milli / 1000,
        route=tuple(binding.path),
        flow=flow_of(binding),
        alternatives=(),
    )


def _takes(binding: Binding, method: str) -> bool:
    """Whether the contact said it takes the method; one that said nothing takes all."""
    if not binding.methods:
        return True
    return method in {name.strip().upper() for name in binding.methods.split(",")}
