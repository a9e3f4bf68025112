"""Checks docker/compose.yaml and docker/kubernetes.yaml by the schemas of Compose and of Kubernetes, strictly. Needs the packages that .ci/image names."""

import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from compose_spec import PyCompose

docker = Path(__file__).resolve().parents[2] / "docker"
OLDEST_KUBERNETES = "1.27"

text = (docker / "compose.yaml").read_text()
# The values that Compose itself fills in: a variable's default, and a folder where one must be given.
text = re.sub(r"\$\{\w+:\?[^}]*\}", "/folder", text)
text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
# (This parser knows no merge keys; Compose does.)
services = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(text))).service_names()
assert sorted(services) == ["cpu", "gpu"], services

for resource in yaml.safe_load_all((docker / "kubernetes.yaml").read_text()):
    for version in (OLDEST_KUBERNETES, kubernetes_validate.latest_version()):
        kubernetes_validate.validate(resource, version, strict=True)
sys.stdout.write("ok  compose.yaml and kubernetes.yaml are as their schemas want them\n")
