"""Which volumes are made and removed for which claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.cluster.volumes import PROVISIONER, name_of, reconcile, released, volume_for, wanted


def claim(uid: str = "1", **changes: Any) -> dict[str, Any]:
    annotations = {"volume.kubernetes.io/storage-provisioner": PROVISIONER, "volume.kubernetes.io/selected-node": "n1"}
    annotations.update(changes.pop("annotations", {}))
    return {
        "metadata": {
            "name": "data",
            "namespace": "test",
            "uid": uid,
            "annotations": annotations,
            **changes.pop("metadata", {}),
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
            "storageClassName": "standard",
            **changes,
        },
    }


def volume(
    name: str = "pvc-1", phase: str = "Released", by: str = PROVISIONER, policy: str = "Delete", **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": by}, **metadata},
        "spec": {"persistentVolumeReclaimPolicy": policy},
        "status": {"phase": phase},
    }


class Recorder:
    """An API that has something, and notes what is asked of it."""

    def __init__(self, claims: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> None:
        self._lists = {"/api/v1/persistentvolumeclaims": claims, "/api/v1/persistentvolumes": volumes}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def list(self, path: str) -> list[dict[str, Any]]:
        return self._lists[path]

    def create(self, path: str, resource: dict[str, Any]) -> None:
        assert path == "/api/v1/persistentvolumes"
        self.created.append(resource)

    def delete(self, path: str) -> None:
        self.deleted.append(path)


def test_a_claim_whose_pod_is_scheduled_gets_a_volume_once() -> None:
    assert wanted([claim()], []) == [claim()]
    assert wanted([claim()], [volume(phase="Available")]) == []


@pytest.mark.parametrize(
    "other",
    [
        claim(volumeName="pvc-1"),
        claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        claim(annotations={"volume.kubernetes.io/storage-provisioner": "example.com/disks"}),
        claim(volumeMode="Block"),
        {**claim(), "metadata": {"name": "data", "namespace": "test", "uid": "1"}},
    ],
)
def test_claims_that_are_bound_or_going_or_of_others_get_none(other: dict[str, Any]) -> None:
    assert wanted([other], []) == []


def test_the_volume_is_for_that_claim_alone_and_every_node_may_have_it() -> None:
    made = volume_for(claim("7"), Path("/state/volumes"))
    assert made["metadata"]["name"] == "pvc-7"
    assert made["spec"]["claimRef"]["uid"] == "7"
    assert made["spec"]["capacity"] == {"storage": "2Gi"}
    assert made["spec"]["local"] == {"path": "/state/volumes/pvc-7"}
    term = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert term == {"key": "kubernetes.io/hostname", "operator": "Exists"}


def test_a_claim_made_anew_under_its_name_gets_another_volume() -> None:
    assert name_of(claim("1")) != name_of(claim("2"))


def test_released_volumes_go_unless_they_are_to_be_kept_or_of_others() -> None:
    volumes = [
        volume("gone"),
        volume("bound", phase="Bound"),
        volume("kept", policy="Retain"),
        volume("foreign", by="example.com/disks"),
        volume("going", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]
    assert released(volumes) == ["gone"]


def test_reconciling_makes_folders_and_removes_those_of_released_volumes(tmp_path: Path) -> None:
    old = tmp_path / "pvc-old"
    old.mkdir()
    (old / "file").write_text("data of a claim that is gone")
    api = Recorder([claim("new")], [volume("pvc-old")])
    done = reconcile(api, tmp_path)  # type: ignore[arg-type]
    assert [made["metadata"]["name"] for made in api.created] == ["pvc-new"]
    assert api.deleted == ["/api/v1/persistentvolumes/pvc-old"]
    assert [path.name for path in tmp_path.iterdir()] == ["pvc-new"]
    assert done == ["made pvc-new for test/data", "removed pvc-old"]
