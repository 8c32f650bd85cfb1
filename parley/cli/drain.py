"""``parley drain`` and ``undrain``: a process takes no new work for a while, here or in a pod, and goes on living.

The process of this data folder is asked over its own unix socket. A pod is asked by running the same command in it with
kubectl, so whoever may do that may drain, and nobody else.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from grpc import StatusCode
from rich.markup import escape

from parley.cli.errors import Exit, errors, fail, rpc_failure
from parley.cli.session import Options, console, run, settings_of, show_json
from parley.platform.config import PlatformConfig
from parley.platform.process_socket import PROCESS_SOCKET
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.platform.v1 import process_pb2 as pb
from parley.proto.platform.v1.process_pb2_grpc import ProcessStub

_PROCESS: Final = "parley.platform.v1.Process"
_LOOK_S: Final = 1.0
_PHASES: Final = {
    pb.PHASE_STARTING: "has not started yet",
    pb.PHASE_RUNNING: "takes work",
    pb.PHASE_DRAINING: "is draining",
    pb.PHASE_DRAINED: "is drained",
}

Pod = Annotated[str, typer.Argument(help="A pod, by kubectl; without one: the Parley of this data folder.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the pod.")]


def drain(
    context: typer.Context,
    pod: Pod = "",
    namespace: Namespace = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the drain is over, and show what is left.")] = False,
) -> None:
    """Let a process take no new work and end the old; it goes on living, and takes work again with `parley undrain`."""
    options: Options = context.obj
    if pod:
        raise typer.Exit(_in_pod(options, pod, namespace, ["drain", *(["--wait"] if wait else [])]))

    async def work(stub: Any) -> pb.ProcessState:
        state: pb.ProcessState = (await stub.Drain(pb.DrainRequest())).state
        return await _until_drained(options, stub, state) if wait else state

    state = _ask(options, work)
    _show(options, state)
    if wait and state.phase != pb.PHASE_DRAINED:
        raise fail("the drain was called off", Exit.FAILURE, "somebody ran `parley undrain`, or sent SIGUSR1")


def undrain(context: typer.Context, pod: Pod = "", namespace: Namespace = "") -> None:
    """Let a process that drains take work again."""
    options: Options = context.obj
    if pod:
        raise typer.Exit(_in_pod(options, pod, namespace, ["undrain"]))

    async def work(stub: Any) -> pb.ProcessState:
        state: pb.ProcessState = (await stub.Undrain(pb.UndrainRequest())).state
        return state

    _show(options, _ask(options, work))


def _ask(options: Options, work: Callable[[Any], Awaitable[pb.ProcessState]]) -> pb.ProcessState:
    """Runs a coroutine with a stub of the process that runs with the data folder; ends the command when that fails."""
    folder = settings_of(options).section("platform", PlatformConfig).data_folder
    path: Path = folder / PROCESS_SOCKET
    if not path.exists():
        raise fail(
            "no running Parley was found", Exit.UNAVAILABLE,
            f"none runs with the data folder {folder}; PARLEY_DATA or --config names another, or name a pod",
        )  # fmt: skip

    async def main() -> pb.ProcessState:
        host = RpcHost()
        try:
            return await work(host.channel(_PROCESS, f"unix:{path}").stub(ProcessStub))
        finally:
            await host.stop()

    try:
        return run(main())
    except RpcError as error:
        raise rpc_failure(error) from None


async def _until_drained(options: Options, stub: Any, state: pb.ProcessState) -> pb.ProcessState:
    """The state at the end of the drain; until then each change is shown."""
    shown = ""
    while state.phase == pb.PHASE_DRAINING:
        text = _text(state)
        if text != shown and not options.as_json:
            console.print(text)
        shown = text
        await asyncio.sleep(_LOOK_S)
        try:
            state = (await stub.Status(pb.StatusRequest())).state
        except RpcError as error:
            if error.code is StatusCode.UNAVAILABLE:
                if options.as_json:
                    show_json({"phase": "PHASE_ENDED"})
                else:
                    console.print("Parley has ended")
                raise typer.Exit(0) from None
            raise
    return state


def _show(options: Options, state: pb.ProcessState) -> None:
    if options.as_json:
        show_json(state)
    else:
        console.print(_text(state))


def _text(state: pb.ProcessState) -> str:
    """One line for people."""
    text = f"Parley {_PHASES.get(state.phase, 'is in an unknown state')}"
    left = [
        f"{count} {kind} of {service.name}"
        for service in state.services
        for kind, count in sorted(service.remaining.items())
        if count
    ]
    if state.phase == pb.PHASE_DRAINING:
        text += f" (at most {state.drain_seconds:.0f} s)"
    if state.phase in (pb.PHASE_DRAINING, pb.PHASE_DRAINED):
        text += f": {', '.join(left)} left" if left else ": nothing is left"
    if state.waiting:
        text += ": " + "; ".join(sorted({waiting.reason for waiting in state.waiting}))
    if state.ending:
        text += "; it was told to end"
    return escape(text)


def _in_pod(options: Options, pod: str, namespace: str, command: list[str]) -> int:
    """Runs the command in a pod; its exit code. Ends this one when kubectl cannot."""
    asked = ["kubectl", "exec", *(["--namespace", namespace] if namespace else []), pod, "--"]
    asked += ["parley", *(["--json"] if options.as_json else []), *command]
    sys.stdout.flush()
    try:
        done = subprocess.run(asked, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - what the user typed
    except FileNotFoundError:
        raise fail(
            "kubectl is not installed, or not on the PATH", Exit.FAILURE,
            "install it, or run `parley drain` inside the pod",
        ) from None  # fmt: skip
    if done.returncode == 0:
        return 0
    raise _failure(done.stderr, pod, namespace) or _pass_on(done.stderr, done.returncode)


def _failure(text: str, pod: str, namespace: str) -> typer.Exit | None:
    """What kubectl itself could not do; None when the command in the pod failed."""
    where = f" in the namespace {namespace}" if namespace else " in kubectl's namespace"
    option = f" -n {namespace}" if namespace else ""
    if "(NotFound)" in text:
        hint = f"`kubectl get pods{option} -l app.kubernetes.io/name=parley` lists them; -n names another namespace"
        return fail(f"there is no {pod}{where}", Exit.NOT_FOUND, hint)
    if "(Forbidden)" in text:
        hint = "that takes the right to create pods/exec there; ask who runs the cluster"
        return fail(f"you may not run commands in {pod}{where}", Exit.REFUSED, hint)
    if "executable file not found" in text:
        return fail(f"{pod} has no command parley: is it one of Parley's pods?", Exit.FAILURE)
    if "Unable to connect to the server" in text or "was refused - did you specify" in text:
        return fail(f"the cluster cannot be reached: {_last_line(text)}", Exit.UNAVAILABLE, "look at `kubectl version`")
    return None


def _pass_on(text: str, code: int) -> typer.Exit:
    """What the command in the pod said, and its exit code."""
    for line in text.splitlines():
        if not line.startswith("command terminated with exit code"):
            errors.print(line, markup=False, soft_wrap=True)
    return typer.Exit(code)


def _last_line(text: str) -> str:
    """What kubectl says after the lines of its log."""
    return text.strip().rpartition("\n")[2]
