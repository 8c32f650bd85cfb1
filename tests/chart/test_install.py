"""tools/cluster/install.sh finds what it speaks of, whatever objects are called; programs of a cluster are stood in for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart.rendering import NAMESPACE, ROOT, render_with

KUBECTL = """#!{python}
import json, re, sys
words = [word for word in sys.argv[1:] if not word.startswith("--")]
options = dict(re.findall(r"--([a-z]+)[= ](.*)", chr(10).join(sys.argv[1:]).replace("--selector" + chr(10), "--selector=")))
if "get" not in words:
    sys.exit(0)
kind = words[words.index("get") + 1]
if kind == "nodes":
    sys.exit(print("192.0.2.1"))
objects = [item for item in json.load(open({objects!r})) if item["kind"].lower() + "s" == kind]
for key, _, one, several in re.findall(r"([^,= ]+)(=([^,]+)| in [(]([^)]+)[)])", options.get("selector", "")):
    allowed = [one] if one else several.split(", ")
    objects = [item for item in objects if item["metadata"]["labels"].get(key) in allowed]
if options["output"] == "json":
    print(json.dumps({{"items": objects}}))
for item in objects if options["output"] == "name" else ():
    print(kind[:-1] + ("/" if kind == "secrets" else ".apps/") + item["metadata"]["name"])
"""


@pytest.mark.parametrize(
    ("settings", "deployment", "secret"),
    [
        ([], "parley-addressbook", "parley-given-demo"),
        (['layout="together"', 'nameOverride="phones"'], "parley-phones-core", "parley-phones-given-demo"),
        (['fullnameOverride="voice"'], "voice-addressbook", "voice-given-demo"),
    ],
)
def test_the_first_users_are_told_by_the_names_that_objects_have(
    settings: list[str], deployment: str, secret: str, tmp_path: Path
) -> None:
    demo = 'demo={"enabled": true, "password": {"value": "hush"}}'
    release = render_with(*settings, demo, 'exposure.type="NodePort"')
    folder, programs = tmp_path / "tools" / "cluster", tmp_path / "bin"
    folder.mkdir(parents=True)
    programs.mkdir()
    shutil.copy(ROOT / "tools" / "cluster" / "install.sh", folder)
    (tmp_path / "objects.json").write_text(json.dumps(release.objects))
    kubectl = KUBECTL.format(python=sys.executable, objects=str(tmp_path / "objects.json"))
    helm = """#!/bin/sh\n[ "$1" != get ] || echo '{"image": {"tag": "1"}}'\n"""
    for path, text in (
        (folder / "cluster.sh", "#!/bin/sh\n"),
        (programs / "kubectl", kubectl),
        (programs / "helm", helm),
    ):
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "values.yaml").write_text("{}\n")
    result = subprocess.run(
        ["bash", str(folder / "install.sh"), str(tmp_path / "values.yaml")],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "NAMESPACE": NAMESPACE, "CLUSTER_WITHOUT_IMAGES": "1"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"kubectl -n {NAMESPACE} exec -it deployment.apps/{deployment} -- parley user add" in result.stdout
    assert f"kubectl -n {NAMESPACE} get secret/{secret} -o jsonpath" in result.stdout
    assert "192.0.2.1:30562" in result.stdout
