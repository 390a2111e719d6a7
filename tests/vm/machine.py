"""A virtual machine in qemu: layers of disk, commands inside by the guest agent, and the ways it can lose its power."""
import base64
import json
import os
import socket
import subprocess
import time

MEMORY_MB = 3072


class Wire:
    """A line of JSON to a socket of qemu, a line back."""

    def __init__(self, path, greeting):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.file = self.socket.makefile("rwb")
        if greeting:
            self.file.readline()

    def _send(self, command, arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self.file.flush()

    def ask(self, command, **arguments):
        self._send(command, arguments)
        while line := self.file.readline():
            answer = json.loads(line)
            if "event" in answer:
                continue
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            return answer["return"]
        raise ConnectionError(f"{command}: qemu closed the line")

    def greet_agent(self):
        """After it, every answer is one to us: those to questions of lines before ours come first."""
        mark = time.monotonic_ns()
        self.file.write(b"\xff")
        self._send("guest-sync-delimited", {"id": mark})
        while line := self.file.readline():
            if line.startswith(b"\xff") and json.loads(line[1:]).get("return") == mark:
                return
        raise ConnectionError("qemu closed the line")

    def close(self):
        self.file.close()
        self.socket.close()


class Done:
    def __init__(self, status):
        self.code = status.get("exitcode", -status.get("signal", 0))
        self.out = base64.b64decode(status.get("out-data", "")).decode(errors="replace").strip()
        self.err = base64.b64decode(status.get("err-data", "")).decode(errors="replace").strip()


class Machine:
    """One machine with a disk of layers, the first above the base.

    The disk is qcow2 with cache=none: what the guest writes into clusters that the top layer does not have yet is found again only by tables
    that qemu keeps in its memory until the guest asks for a flush, which then reaches the real disk, too. On a new, empty layer that is so for
    everything: killing qemu loses what was not flushed, as cutting the power does to a disk with a volatile cache.

    accel: kvm, tcg (qemu's emulation in software, ten times as slow and more) or auto: tcg where KVM does not bring Debian's kernel up, as in
    a virtual machine that can only run kernels made for it. patience is by how much everything may take longer then."""

    def __init__(self, folder, base, payload, log, accel):
        self.folder, self.base, self.payload, self.log = folder, base, payload, log
        self.layers, self.process = [], None
        self.accel, self.patience = accel, 10 if accel == "tcg" else 1
        os.makedirs(folder, exist_ok=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def _next_layer(self):
        self.layers.append(os.path.join(self.folder, f"layer-{len(self.layers)}.qcow2"))
        return self.layers[-1]

    def power_on(self):
        if not self.layers:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.join(self.base, "root.raw"), "-F", "raw", self._next_layer()], check=True)
        if self.accel == "auto":
            self._find_accel()
        self._start()
        self.wait_agent()

    def new_layer(self):
        """From now on, everything that is not flushed is lost with the power."""
        self._monitor("blockdev-snapshot-sync", device="disk", format="qcow2", **{"snapshot-file": self._next_layer()})

    def forget_flushes(self):
        """The guest believes that its disk has no volatile cache, and does not flush: what must not happen, for a test of the test."""
        self.out("sync && echo 'write through' >/sys/block/vda/queue/write_cache")

    def _find_accel(self):
        self.accel = "kvm"
        try:
            self._start()
            self.wait_agent(60)
        except (RuntimeError, TimeoutError):
            self.accel, self.patience = "tcg", 10
        self.cut_power()

    def _start(self):
        processor = ["-machine", "q35", "-smp", "2", "-m", str(MEMORY_MB)]
        processor += {"kvm": ["-accel", "kvm", "-cpu", "host,arch-capabilities=off"], "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"]}[self.accel]
        agent, monitor = (os.path.join(self.folder, name) for name in ("agent.sock", "monitor.sock"))
        self.process = subprocess.Popen([
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", *processor,
            "-kernel", os.path.join(self.base, "vmlinuz"), "-initrd", os.path.join(self.base, "initrd"),
            "-append", "root=/dev/vda rw console=ttyS0 panic=-1", "-serial", f"file:{self.log}",
            "-drive", f"id=disk,file={self.layers[-1]},format=qcow2,if=virtio,cache=none",
            "-drive", f"file={self.payload},format=raw,if=virtio,readonly=on",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:6443", "-device", "virtio-net-pci,netdev=net",
            "-device", "virtio-serial", "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0", "-qmp", f"unix:{monitor},server=on,wait=off",
        ], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    # ---- commands inside -------------------------------------------------------------------------------------------------

    def wait_agent(self, seconds=60):
        """Waits until the guest has booted far enough to hear commands."""
        end = time.monotonic() + seconds * self.patience
        while True:
            try:
                return self._ask("guest-ping")
            except (OSError, ValueError) as e:
                if self.process.poll() is not None:
                    raise RuntimeError(f"qemu ended with code {self.process.returncode}") from e
                if time.monotonic() > end:
                    raise TimeoutError(f"the virtual machine does not answer; its console: {self.log}") from e
                time.sleep(0.2)

    def _ask(self, command, **arguments):
        """On a line of its own: the agent may have begun anew since the last."""
        wire = Wire(os.path.join(self.folder, "agent.sock"), greeting=False)
        try:
            wire.socket.settimeout(5 * self.patience)
            wire.greet_agent()
            return wire.ask(command, **arguments)
        finally:
            wire.close()

    def start(self, command):
        return self._ask("guest-exec", path="/bin/sh", arg=["-c", command], **{"capture-output": True})["pid"]

    def run(self, command, seconds=60):
        """The finished command: code, out, err."""
        pid, end = self.start(command), time.monotonic() + seconds * self.patience
        while time.monotonic() < end:
            status = self._ask("guest-exec-status", pid=pid)
            if status["exited"]:
                return Done(status)
            time.sleep(0.05)
        raise TimeoutError(f"{command}: not within {seconds} s")

    def out(self, command, seconds=60):
        done = self.run(command, seconds)
        if done.code != 0:
            raise RuntimeError(f"in the virtual machine, {command}: code {done.code}: {done.err or done.out}")
        return done.out

    def boot_id(self):
        return self.out("cat /proc/sys/kernel/random/boot_id")

    # ---- power -----------------------------------------------------------------------------------------------------------

    def _wait_other_boot(self, before, seconds=120):
        end = time.monotonic() + seconds * self.patience
        while time.monotonic() < end:
            self.wait_agent()
            try:
                if self.boot_id() != before:
                    return
            except (OSError, ValueError, RuntimeError):
                pass  # it is on its way down
            time.sleep(0.2)
        raise TimeoutError(f"the virtual machine did not boot again within {seconds} s")

    def reboot(self):
        before = self.boot_id()
        self.start("systemctl reboot")
        self._wait_other_boot(before)

    def reset(self):
        """The button on the case."""
        before = self.boot_id()
        self._monitor("system_reset")
        self._wait_other_boot(before)

    def _monitor(self, command, **arguments):
        wire = Wire(os.path.join(self.folder, "monitor.sock"), greeting=True)
        wire.ask("qmp_capabilities")
        wire.ask(command, **arguments)
        wire.close()

    def cut_power(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
