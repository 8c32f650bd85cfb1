"""Volumes that come and go with their claims: a folder of the machine for each, which every node sees.

A claim of the class ``standard`` gets one once a pod that uses it is scheduled; with the claim goes the volume, and with
the volume its folder. The volumes are of the kind ``local``, for which the kubelet heeds fsGroup: the folder belongs to
root, so a chart that forgets fsGroup fails here as it does on real disks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tools.cluster.api import Api

PROVISIONER: Final = "parley.test/folder"
"""Named by the storage class in ``manifests/storage.yaml``."""
VOLUMES: Final = "/api/v1/persistentvolumes"
CLAIMS: Final = "/api/v1/persistentvolumeclaims"
_PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
_CLAIMED_FROM: Final = "volume.kubernetes.io/storage-provisioner"
_SELECTED: Final = "volume.kubernetes.io/selected-node"
Resource = Mapping[str, Any]


def name_of(claim: Resource) -> str:
    """The name of the volume for a claim; of one that is made again it is another one."""
    return f"pvc-{claim['metadata']['uid']}"


def wanted(claims: Iterable[Resource], volumes: Iterable[Resource]) -> list[Resource]:
    """The claims that wait for a volume which is not there."""
    there = {volume["metadata"]["name"] for volume in volumes}
    return [claim for claim in claims if _waits(claim) and name_of(claim) not in there]


def released(volumes: Iterable[Resource]) -> list[str]:
    """The names of volumes whose claims are gone, and that are to go with them."""
    return [
        volume["metadata"]["name"]
        for volume in volumes
        if (volume["metadata"].get("annotations") or {}).get(_PROVISIONED_BY) == PROVISIONER
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and volume.get("status", {}).get("phase") in ("Released", "Failed")
        and not volume["metadata"].get("deletionTimestamp")
    ]


def volume_for(claim: Resource, folder: Path) -> dict[str, Any]:
    """The volume that a claim gets; only this claim may have it."""
    metadata, spec = claim["metadata"], claim["spec"]
    anywhere = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name_of(claim), "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(folder / name_of(claim))},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [anywhere]}},
        },
    }


def reconcile(api: Api, folder: Path) -> list[str]:
    """Makes and removes what is due; says what. Raises one of the API's FAILURES."""
    done = []
    claims, volumes = api.list(CLAIMS), api.list(VOLUMES)
    for claim in wanted(claims, volumes):
        place = folder / name_of(claim)
        place.mkdir(parents=True, exist_ok=True, mode=0o755)
        api.create(VOLUMES, volume_for(claim, folder))
        done.append(f"made {place.name} for {claim['metadata']['namespace']}/{claim['metadata']['name']}")
    for name in released(volumes):
        shutil.rmtree(folder / name, ignore_errors=True)
        api.delete(f"{VOLUMES}/{name}")
        done.append(f"removed {name}")
    return done


def _waits(claim: Resource) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    return (
        annotations.get(_CLAIMED_FROM) == PROVISIONER
        and _SELECTED in annotations
        and not claim["spec"].get("volumeName")
        and not claim["metadata"].get("deletionTimestamp")
        and claim["spec"].get("volumeMode", "Filesystem") == "Filesystem"
    )
