"""The programs that are not of a node: etcd, the API server, controllers, the scheduler, metrics-server.

They run in the namespace of the switch, so that their ports are free whatever else runs on the machine. Timings are shorter
than by default, so that tests need not wait: a node that fell silent is NotReady after about 20 s, and its pods are replaced
10 s later; autoscalers look every 5 s.
"""

from __future__ import annotations

from tools.cluster import namespaces
from tools.cluster.pki import Authority
from tools.cluster.settings import API_SERVICE, NAME, SERVICES, Settings
from tools.cluster.shell import Program, say, succeeds

_ETCD = "http://127.0.0.1:2379"
METRICS_PORT = 4443


def make_keys(settings: Settings) -> Authority:
    """Makes what the programs show and check; kubeconfigs for each, and the administrator's."""
    authority = Authority(settings.pki, settings.server)
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    authority.issue("apiserver", "kube-apiserver", hosts=[*service, "localhost", API_SERVICE, settings.control, "127.0.0.1"])
    authority.issue("apiserver-kubelet", "apiserver-kubelet-client", "system:masters")
    authority.issue("front-proxy", "front-proxy-client")
    authority.issue("metrics-server", "metrics-server", hosts=["metrics-server.kube-system.svc"])
    authority.signing_key("service-accounts")
    authority.issue("admin", "admin", "system:masters")
    authority.kubeconfig(settings.kubeconfig, "admin")
    for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        authority.issue(name, f"system:{name}")
        authority.kubeconfig(settings.pki / f"{name}.kubeconfig", name)
    return authority


def start(settings: Settings) -> None:
    """Returns once the API answers. Raises ClusterError."""
    data = settings.state / "etcd"
    data.mkdir(mode=0o700, exist_ok=True)
    etcd = _program(
        settings,
        "etcd",
        f"--data-dir={data}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # what is lost with the machine is made anew
        "--log-level=warn",
    )
    port = namespaces.inside(NAME, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2379")
    etcd.wait_until(lambda: succeeds(*port))
    api = _program(settings, "kube-apiserver", *_api_flags(settings))
    api.wait_until(lambda: answers(settings))
    say("the API answers")
    _program(settings, "kube-controller-manager", *_controller_flags(settings))
    _program(
        settings,
        "kube-scheduler",
        f"--kubeconfig={settings.pki}/kube-scheduler.kubeconfig",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )


def start_metrics(settings: Settings) -> None:
    """Starts metrics-server; figures are there after some twenty seconds."""
    kubeconfig = settings.kubeconfig
    _program(
        settings,
        "metrics-server",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--kubelet-certificate-authority={settings.pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--bind-address={settings.control}",
        f"--secure-port={METRICS_PORT}",
        f"--tls-cert-file={settings.pki}/metrics-server.crt",
        f"--tls-private-key-file={settings.pki}/metrics-server.key",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    )


def answers(settings: Settings) -> bool:
    """Whether the API is ready."""
    kubectl = settings.programs / "kubectl"
    return succeeds(
        kubectl, f"--kubeconfig={settings.kubeconfig}", "--request-timeout=2s", "get", "--raw", "/readyz", timeout=10
    )


def _program(settings: Settings, name: str, *flags: str) -> Program:
    return Program(name, namespaces.inside(NAME, settings.programs / name, *flags), settings.log(name))


def _api_flags(settings: Settings) -> list[str]:
    pki = settings.pki
    return [
        f"--etcd-servers={_ETCD}",
        f"--bind-address={settings.control}",
        f"--advertise-address={settings.control}",
        f"--service-cluster-ip-range={SERVICES}",
        "--allow-privileged=true",
        # Who may: nodes for what is theirs, people and service accounts by roles.
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        # To the kubelets, for logs, exec and port-forward.
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        # To APIs that others serve, such as metrics-server's.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--default-not-ready-toleration-seconds=10",
        "--default-unreachable-toleration-seconds=10",
    ]


def _controller_flags(settings: Settings) -> list[str]:
    pki = settings.pki
    return [
        f"--kubeconfig={pki}/kube-controller-manager.kubeconfig",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
        "--horizontal-pod-autoscaler-sync-period=5s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
    ]
