#!/usr/bin/env python3
"""Builds the Kubernetes overlays and checks them: manifests.py FOLDER-OF-NODE-MODULES

`kubectl kustomize` builds each overlay, alone and with every component. kubernetes-validate holds
the result against the API's schemas, and the rules below against what no schema knows.
"""

import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# The newest, and the oldest that has all of it without being told: `preStop.sleep` is the youngest.
VERSIONS = ["1.37", "1.30"]
CUSTOM_GROUP = "monitoring.coreos.com"
# The server gives its last answers so long to reach their clients (`CLOSE_GRACE` in src/serve.rs).
CLOSE_SECONDS = 5


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(overlay, components):
    """The resources of an overlay with components added to it."""
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.relpath(KUBERNETES, os.path.realpath(folder))
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{base}/overlays/{overlay}"],
            "components": [f"{base}/components/{name}" for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return list(yaml.safe_load_all(output("kubectl", "kustomize", folder)))


def validate(resources, node):
    """Against the schemas of Kubernetes, and those of the Prometheus operator."""
    own = [r for r in resources if not r["apiVersion"].startswith(CUSTOM_GROUP)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resources.yaml"
        file.write_text(yaml.safe_dump_all(own))
        for version in VERSIONS:
            output("kubernetes-validate", "--strict", "--quiet", "-k", version, str(file))
        file = Path(folder) / "resources.json"
        file.write_text(json.dumps(resources))
        output("node", f"{node}/custom_resources.js", str(file))


def complaints(resources):
    """What is valid and wrong."""
    of = lambda kind: [r for r in resources if r["kind"] == kind]
    names = {(r["kind"], r["metadata"]["name"]) for r in resources}
    (workload,) = of("StatefulSet")
    spec = workload["spec"]
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}

    # An empty selector is valid, and means every pod of the namespace.
    of_pods = [("StatefulSet", spec["selector"]["matchLabels"])]
    of_pods += [(f"Service {s['metadata']['name']}", s["spec"]["selector"]) for s in of("Service")]
    for kind, field in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")]:
        of_pods += [(kind, r["spec"][field].get("matchLabels", {})) for r in of(kind)]
    given = labels | {"statefulset.kubernetes.io/pod-name": f"{workload['metadata']['name']}-0"}
    for who, selector in of_pods:
        if not selector or not selector.items() <= given.items():
            yield f"{who} selects {selector or 'every pod'}, and the pods have {labels}"

    if ("Service", spec["serviceName"]) not in names:
        yield f"there is no service {spec['serviceName']}"
    for service in of("Service"):
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"the pods have no port {port['targetPort']}"
    for monitor in of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in of("Service") if wanted <= s["metadata"].get("labels", {}).items()]
        if len(found) != 1:
            yield f"{len(found)} services are scraped: each pod would be as often"
    for scaler in of("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in names:
            yield f"there is no {target['kind']} {target['name']} to be scaled"
        if "replicas" in spec:
            yield "with `replicas` set, each `kubectl apply` undoes what the autoscaler did"

    settings = {}
    for source in container["envFrom"]:
        reference = source.get("configMapRef")
        if reference and ("ConfigMap", reference["name"]) not in names:
            yield f"there is no ConfigMap {reference['name']}"
    for config in of("ConfigMap"):
        settings |= config["data"]
    hook = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    least = hook + int(settings["AURIS_DRAIN_SECONDS"]) + CLOSE_SECONDS
    if pod["terminationGracePeriodSeconds"] <= least:
        yield f"terminationGracePeriodSeconds must be above {least}: requests would be cut off"

    mounted = {mount["name"] for mount in container["volumeMounts"]}
    there = {volume["name"] for volume in pod.get("volumes", [])}
    there |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    if mounted != there:
        yield f"volumes {there} and mounts {mounted} differ"
    yield from restrictions(pod, container)
    for policy in of("NetworkPolicy"):
        yield from reach(policy["spec"])
    if "AURIS_INSECURE_NO_KEYS" in settings:
        yield "it starts without keys"
    if ":" not in container["image"]:
        yield f"the image {container['image']} has no tag"
    limits = container["resources"]["limits"]
    if container["resources"]["requests"]["cpu"] != limits["cpu"] or not limits.get("memory"):
        yield "slots and threads are chosen by the CPU limit: it must be had, and memory bounded"


def restrictions(pod, container):
    """What the pod security standard `restricted` asks, and a read-only root."""
    whole, own = pod["securityContext"], container["securityContext"]
    if not (whole["runAsNonRoot"] and whole["runAsUser"] > 0):
        yield "it may run as root"
    if whole["seccompProfile"]["type"] != "RuntimeDefault":
        yield "it may make every system call"
    if own["allowPrivilegeEscalation"] or own["capabilities"] != {"drop": ["ALL"]}:
        yield "it may get privileges"
    if not own["readOnlyRootFilesystem"]:
        yield "it may write to its image"
    if pod["automountServiceAccountToken"]:
        yield "it is given a token that it does not need"


# What nobody but the cluster and the network around it has.
PRIVATE = ["10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.1.1", "169.254.169.254", "127.0.0.1", "0.0.0.0"]
PRIVATE += ["fd00:ec2::254", "fe80::1", "::1", "64:ff9b::a01:203"]


def reach(spec):
    """Who may come in, and where to."""
    for rule in spec["ingress"]:
        for peer in rule["from"]:
            # An empty selector is everything.
            if not all(selector.get("matchLabels") for selector in peer.values()):
                yield f"whoever comes in is not labelled: {peer}"
    for rule in spec["egress"]:
        ports = {port["port"] for port in rule["ports"]}
        blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
        for private in map(ipaddress.ip_address, PRIVATE):
            for block in blocks:
                excepted = map(ipaddress.ip_network, block.get("except", []))
                if private in ipaddress.ip_network(block["cidr"]) and not any(private in e for e in excepted):
                    yield f"{private} is reached on {ports}"
        if 53 in ports and any(peer == {} for peer in rule["to"]):
            yield "names are asked of anybody"


def main(node):
    components = sorted(path.name for path in (KUBERNETES / "components").iterdir())
    overlays = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
    assert len(overlays) > 1 and components, "the manifests are not where they are looked for"
    count = 0
    for overlay in overlays:
        for added in [], components:
            resources = build(overlay, added)
            validate(resources, node)
            name = " + ".join([overlay, *added])
            found = list(complaints(resources))
            count += len(found)
            for complaint in found:
                print(f"{name}: {complaint}", file=sys.stderr)
            print(f"{name}: {len(resources)} resources, {len(found)} complaints")
    # What docs/deployment.md has made of the alerts.
    alerts = yaml.safe_load((DEPLOY / "observability/alerts.yaml").read_text())
    names = {"apiVersion": f"{CUSTOM_GROUP}/v1", "kind": "PrometheusRule"}
    rule = names | {"metadata": {"name": "auris"}, "spec": alerts}
    secret = yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())
    validate([rule, secret], node)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
