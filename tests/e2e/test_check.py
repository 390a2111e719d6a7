"""What `kogge check` and a start say about a machine that is not as it should be; each case makes one thing wrong."""
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest
from server import KOGGE, free_port

from kube import until


def check(data, covered=None):
    """The lines of `kogge check`, in a mount namespace where files of /proc say something else: {path: text}."""
    script = "".join(f"mount --bind {name} {path} && " for path, name in (covered or {}).items())
    return subprocess.run(["unshare", "-m", "sh", "-c", f'{script} exec "$@"', "sh", KOGGE, "check", "--data-dir", str(data), "--port", str(free_port()),
                           "--node-port", str(free_port())], capture_output=True, text=True, check=False)


def line_of(done, name):
    return [line for line in done.stdout.splitlines() if line.split("] ", 1)[1].split(":")[0] == name][0]


def test_swap_and_few_inotify_instances_are_named(data, tmp_path):
    swaps, instances = tmp_path / "swaps", tmp_path / "instances"
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n/dev/sda2   partition\t999996\t0\t-2\n")
    instances.write_text("8\n")
    done = check(data, {"/proc/swaps": swaps, "/proc/sys/fs/inotify/max_user_instances": instances})
    assert done.returncode == 0, done  # warnings: a server starts
    assert line_of(done, "swap").startswith("[!] swap: swap is on (/dev/sda2)") and "swapoff -a" in done.stdout
    assert "sysctl fs.inotify.max_user_instances=1024" in line_of(done, "inotify")
    fine = check(data, {"/proc/swaps": "/dev/null"})
    assert line_of(fine, "swap") == "[+] swap"


CARDS = "ip link set lo up; for n in 1 2; do ip link add card$n type veth peer name other$n; ip link set other$n up; ip addr add 192.0.2.$n/24 dev card$n; ip link set card$n up; done; "


@pytest.mark.parametrize("command", ["check", "server"])
@pytest.mark.parametrize("address, said", [("192.0.2.2", None), ("192.0.2.3", "192.0.2.3"), ("0.0.0.0", "0.0.0.0")])
def test_a_node_address_of_several_cards(tmp_path, command, address, said):
    """Two cards, in a network of their own; a server then lacks its disk, whatever the address is."""
    full = f"mount -t tmpfs -o size=32m tmpfs {tmp_path} && "
    done = subprocess.run(["unshare", "-mn", "sh", "-c", CARDS + full + 'exec "$@"', "sh", KOGGE, command, "--data-dir", f"{tmp_path}/data", "--node-ip", address],
                          capture_output=True, text=True, timeout=300, check=False)
    wrong = f"[-] node address: {said} (--node-ip) is no address of this machine, which has 192.0.2.1 (card1), 192.0.2.2 (card2)"
    assert done.returncode == 1 and (wrong in done.stdout + done.stderr) == bool(said), done


def test_a_full_disk_is_named(tmp_path):
    done = subprocess.run(["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=32m tmpfs {tmp_path} && exec "$@"', "sh", KOGGE, "server",
                           "--data-dir", str(tmp_path / "data"), "--port", str(free_port()), "--node-port", str(free_port())],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "MiB are free for" in done.stderr and "another --data-dir" in done.stderr, done


@pytest.fixture
def stopped(fresh):
    server = fresh(node=False, ephemeral=False).start().wait_ready()
    server.stop()
    return server


def test_a_clock_before_the_data_is_named(stopped):
    store = os.path.join(stopped.data, "control", "store.db")
    then = time.time() + 7 * 86400
    os.utime(store, (then, then))
    done = check(stopped.data)
    assert done.returncode == 1 and "set the clock" in line_of(done, "clock"), done


def end(pki, name, tmp_path, ca=None):
    """Replaces a certificate by one of the same key that ended in 2021, signed by ca or itself."""
    key, csr, ended = f"{pki}/{name}.key", tmp_path / f"{name}.csr", tmp_path / f"{name}.crt"
    config = tmp_path / "ca.cnf"
    (tmp_path / "index").write_text("")
    config.write_text(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={tmp_path}\ndatabase={tmp_path}/index\nrand_serial=yes\ndefault_md=sha256\n"
                      "policy=p\ncopy_extensions=copy\n[p]\ncommonName=optional\norganizationName=optional\n")
    subprocess.run(["openssl", "x509", "-x509toreq", "-in", f"{pki}/{name}.crt", "-signkey", key, "-out", csr], check=True, capture_output=True)
    signer = ["-selfsign", "-keyfile", key] if ca is None else ["-keyfile", f"{ca}.key", "-cert", f"{ca}.crt"]
    subprocess.run(["openssl", "ca", "-batch", "-notext", "-config", config, *signer, "-in", csr, "-out", ended, "-startdate", "20200101000000Z",
                    "-enddate", "20210101000000Z"], check=True, capture_output=True)
    with open(ended, "rb") as new, open(f"{pki}/{name}.crt", "wb") as old:
        old.write(new.read())


def shown(server):
    """The certificate that the server shows."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain:
        context = ssl.create_default_context(cafile=os.path.join(server.data, "control", "pki", "ca.crt"))
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            return tls.getpeercert()


def test_certificates_of_a_cluster_that_was_off_for_a_year(stopped, tmp_path):
    """They are named, and a start makes them anew."""
    pki = os.path.join(stopped.data, "control", "pki")
    end(pki, "server", tmp_path, ca=f"{pki}/ca")
    done = check(stopped.data)
    assert "server.crt ended at 2021-01-01T00:00:00Z: a start" in line_of(done, "certificates"), done
    stopped.start().wait_ready()
    assert ssl.cert_time_to_seconds(shown(stopped)["notAfter"]) > time.time() + 300 * 86400
    assert line_of(check(stopped.data), "certificates") == "[+] certificates"


def test_certificates_are_renewed_while_it_runs(fresh, tmp_path):
    server = fresh(node=False, ephemeral=False).start().wait_ready()
    pki = os.path.join(server.data, "control", "pki")
    before = shown(server)["serialNumber"]
    end(pki, "server", tmp_path, ca=f"{pki}/ca")
    os.kill(server.process.pid, signal.SIGHUP)
    until(lambda: shown(server)["serialNumber"] != before, 20, "a new certificate is shown")
    server.wait_ready()


def test_a_ca_that_ended_has_a_way_back(stopped, tmp_path):
    pki = os.path.join(stopped.data, "control", "pki")
    end(pki, "ca", tmp_path)
    done = check(stopped.data)
    assert done.returncode == 1 and "ended at 2021-01-01T00:00:00Z" in line_of(done, "certificate authority"), done
    for name in ("ca.crt", "ca.key"):  # as it says
        os.rename(os.path.join(pki, name), tmp_path / name)
    os.remove(stopped.kubeconfig)  # of the old one; wait_ready() waits for the new one
    stopped.start().wait_ready()
    assert line_of(check(stopped.data), "certificate authority") == "[+] certificate authority"
    assert stopped.kube.get("/api/v1/namespaces/default")
