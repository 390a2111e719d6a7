"""kubectl and streams: exec, attach, logs, cp, port-forward."""
import http.client
import os
import re
import subprocess
import sys
import time


def test_exec(demo):
    assert demo("exec", "box", "--", "echo", "hello") == "hello\n"
    assert demo("exec", "-i", "box", "--", "cat", stdin="through\n") == "through\n"
    assert demo.run("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7").returncode == 7
    done = demo.run("exec", "box", "-c", "box", "--", "sh", "-c", "echo out; echo err >&2")
    assert done.stdout == "out\n" and done.stderr == "err\n"
    assert "executable file not found" in demo.fails("exec", "box", "--", "no-such-program")
    assert "not found" in demo.fails("exec", "nobody", "--", "true")


def test_exec_large(demo):
    text = "".join(f"line {i}\n" for i in range(60000))
    assert demo("exec", "-i", "box", "--", "cat", stdin=text) == text


def test_exec_terminal(demo):
    """With a terminal: script(1) gives kubectl one."""
    command = " ".join(["'" + w + "'" for w in demo.command("exec", "-it", "box", "--", "sh", "-c", "tty; stty size")])
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, env=demo.env, timeout=300, check=False, stdin=subprocess.DEVNULL)
    assert "/dev/pts/" in done.stdout, done.stdout + done.stderr


def test_logs(demo):
    assert "tick" in demo("logs", "box")
    assert demo("logs", "box", "--tail=1") == "tick\n"
    assert re.match(r"\d{4}-\d\d-\d\dT[0-9:.]+Z tick", demo("logs", "box", "--timestamps", "--tail=1"))
    assert demo("logs", "box", "--limit-bytes=2") == "ti"
    began = time.monotonic()
    ticks = demo("logs", "box", "--since=1s").count("tick")
    assert ticks <= 3 + time.monotonic() - began, "those of the second before, and of the time that it took"
    assert demo.run("logs", "-l", "app=web", "--prefix").returncode == 0
    assert "tick" in demo("logs", "pod/box", "-c", "box")
    assert "not found" in demo.fails("logs", "nobody")


def test_logs_of_a_pod_without_a_node_are_empty(kubectl, space):
    """So that `logs -l` shows what the others say while one of them still waits."""
    nowhere = {"nodeSelector": {"no": "such"}}
    space.create("pods", {"metadata": {"name": "waits"}, "spec": {**nowhere, "containers": [{"name": "c", "image": "busybox:test"}]}})
    assert kubectl("logs", "waits") == "" == kubectl("logs", "-f", "waits")
    assert "not valid" in kubectl.fails("logs", "waits", "-c", "other")
    assert "does not have a host assigned" in kubectl.fails("exec", "waits", "--", "true")


def test_logs_follow(demo):
    last = demo("logs", "box", "--timestamps", "--tail=1").split()[0]
    follow = demo.start("logs", "-f", "box", "--timestamps", "--tail=1")
    lines = [follow.stdout.readline().split() for _ in range(4)]
    follow.terminate()
    times = [at for at, _ in lines]
    assert [what for _, what in lines] == ["tick"] * 4 and times == sorted(set(times)), lines
    assert last <= times[0] and last < times[1], "they came after it had begun"


def test_logs_follow_ends_with_the_pod(kubectl, space):
    kubectl("run", "short", "--image=busybox:test", "--restart=Never", "--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.5; done")
    space.wait("pods", "short", lambda p: p["status"].get("phase") in ("Running", "Succeeded"))
    assert kubectl("logs", "-f", "short").split() == ["1", "2", "3"]


def test_attach(demo):
    attach = demo.start("attach", "box")
    lines = [attach.stdout.readline() for _ in range(5)]  # old versions explain themselves first
    attach.terminate()
    assert "tick\n" in lines


def test_cp(demo, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    (there / "deep").mkdir(parents=True)
    (there / "deep" / "data").write_bytes(os.urandom(300000))
    (there / "text").write_text("hello\n")
    demo("cp", str(there), f"{demo.namespace}/box:/tmp/copied")
    demo("cp", f"{demo.namespace}/box:/tmp/copied", str(back))
    assert (back / "deep" / "data").read_bytes() == (there / "deep" / "data").read_bytes()
    assert (back / "text").read_text() == "hello\n"
    demo("exec", "box", "--", "rm", "-r", "/tmp/copied")


def forwarded(forward):
    line = forward.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert found, line + forward.stdout.read()
    return int(found.group(1))


def fetch(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_port_forward(demo):
    pod = demo("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    for target, port in (("pod/" + pod, ":8080"), ("service/web", ":80"), ("deployment/web", ":8080")):
        forward = demo.start("port-forward", target, port, "--address=127.0.0.1")
        try:
            port = forwarded(forward)
            for _ in range(5):
                code, text = fetch(port)
                assert code == 200 and text.startswith("v1 from web-")
        finally:
            forward.terminate()
            forward.wait(60)


def test_all_input_arrives_on_a_busy_machine(space, any_kubectl):
    """A command that closes its stdout as the first thing it does: the node has to hold it open before, however busy the machine is."""
    kubectl = any_kubectl.within(space.name)
    space.box()
    space.wait_pod("box")
    text = "0123456789abcde\n" * (1 << 16)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * os.cpu_count())]
    try:
        for _ in range(10):
            assert kubectl.run("exec", "-i", "box", "--", "sh", "-c", "cat > /tmp/file", stdin=text).returncode == 0
            assert kubectl("exec", "box", "--", "wc", "-c", "/tmp/file").split()[0] == str(len(text))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
