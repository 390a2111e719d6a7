"""make install and make uninstall; what the service manager hears."""
import os
import shutil
import socket
import subprocess

import pytest

from server import top


def make(target, **variables):
    return subprocess.run(["make", "-s", target, *(f"{k}={v}" for k, v in variables.items())], cwd=top(), capture_output=True, text=True, timeout=600, check=False)


def files(root):
    return sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names)


BELOW_PREFIX = ["bin/kogge", "lib/systemd/logind.conf.d/85-kogge.conf", "lib/systemd/network/10-kogge.network", "lib/systemd/system/kogge.service", "lib/udev/rules.d/85-kogge.rules",
                *(f"share/doc/kogge/{page}" for page in ("CHANGELOG.md", "LICENSE", "README.md", "limits.md", "operations.md"))]


def test_package_root(tmp_path):
    done = make("install", PREFIX="/usr", DESTDIR=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == [f"usr/{name}" for name in BELOW_PREFIX]
    unit = (tmp_path / "usr/lib/systemd/system/kogge.service").read_text()
    assert "ExecStart=/usr/bin/kogge server\n" in unit and "@" not in unit
    assert (tmp_path / "usr/share/doc/kogge/kept-by-its-owner").write_text("x")
    assert make("uninstall", PREFIX="/usr", DESTDIR=tmp_path).returncode == 0
    assert files(tmp_path) == ["usr/share/doc/kogge/kept-by-its-owner"]


def test_prefix_and_unit(tmp_path):
    prefix, units = tmp_path / "opt", tmp_path / "units"
    assert make("install", PREFIX=prefix, UNITDIR=units).returncode == 0
    assert subprocess.run([prefix / "bin/kogge", "version"], capture_output=True, check=True).stdout.startswith(b"kogge ")
    if shutil.which("systemd-analyze"):
        verified = subprocess.run(["systemd-analyze", "verify", "--man=no", units / "kogge.service"], capture_output=True, text=True, check=False)
        assert verified.returncode == 0 and not verified.stderr, verified.stderr
    assert make("uninstall", PREFIX=prefix, UNITDIR=units).returncode == 0
    assert not files(tmp_path)


@pytest.mark.parametrize("prefix", ["opt/kogge", "/tmp/a b", "/tmp/%n"])
def test_refused_prefix(prefix, tmp_path):
    done = make("install", PREFIX=prefix, DESTDIR=tmp_path)
    assert done.returncode != 0 and prefix in done.stderr
    assert not files(tmp_path)


@pytest.mark.parametrize("name", ["notify", "@kogge-notify-%d" % os.getpid()])
def test_service_manager_hears(fresh, tmp_path, name):
    """READY=1 once the API answers, STOPPING=1 at the end, and no word from containerd, which speaks that language, too."""
    path = name if name[0] == "@" else str(tmp_path / name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path.replace("@", "\0", 1))
        manager.settimeout(180)
        server = fresh()
        server.start(NOTIFY_SOCKET=path)
        assert manager.recv(64) == b"READY=1"
        server.wait_ready()
        assert server.stop() == 0
        manager.settimeout(0)
        assert manager.recv(64) == b"STOPPING=1"
        with pytest.raises(BlockingIOError):
            manager.recv(64)
