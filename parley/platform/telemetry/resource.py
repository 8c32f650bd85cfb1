"""What telemetry says of the process it comes from: the attributes of the environment, and what is known without them.

``OTEL_RESOURCE_ATTRIBUTES`` is as OpenTelemetry has it; in a cluster it names pod, node and namespace. ``OTEL_SERVICE_NAME``
counts for nothing: each service of a process has a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Final
from uuid import uuid4

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

POD_NAME: Final = "k8s.pod.name"
POD_UID: Final = "k8s.pod.uid"


def environment_attributes() -> Mapping[str, Any]:
    """Those that the environment sets."""
    return OTELResourceDetector().detect().attributes


@cache
def _random_instance() -> str:
    """The same for all services of this process."""
    return str(uuid4())


def resource_of(service: str) -> Resource:
    """The resource of one service: ``service.name`` is ``parley-<service>``, whatever the environment says.

    ``service.version`` and ``service.instance.id`` are the package's version and the pod's uid (else a random one), unless
    the environment has others.
    """
    set_outside = environment_attributes()
    known = {
        "service.version": version("parley"),
        "service.instance.id": str(set_outside.get(POD_UID) or _random_instance()),
    }
    attributes = {name: value for name, value in known.items() if name not in set_outside}
    return Resource.create({**attributes, "service.name": f"parley-{service}"})
