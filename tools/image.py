#!/usr/bin/python3
"""Writes a docker-archive tar from files, without any container tool.

image.py OUT.tar NAME [--cmd WORD...] [--env K=V]... [--file SOURCE:TARGET[:MODE]]... [--link TARGET:NAME]... [--dir NAME]...
The same input gives the same bytes.
"""
import argparse
import hashlib
import io
import json
import tarfile


def entry(name, mode, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, size, link, 0
    return info


def layer(options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ["bin", "etc", "proc", "sys", "dev", "root"] + options.dir:
            tar.addfile(entry(name, 0o755, tarfile.DIRTYPE))
        tar.addfile(entry("tmp", 0o1777, tarfile.DIRTYPE))
        for spec in options.file:
            source, target, *mode = spec.split(":")
            data = open(source, "rb").read()
            tar.addfile(entry(target.lstrip("/"), int(mode[0], 8) if mode else 0o755, size=len(data)), io.BytesIO(data))
        for spec in options.link:
            target, name = spec.split(":")
            tar.addfile(entry(name.lstrip("/"), 0o777, tarfile.SYMTYPE, link=target))
        for name, text in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
                           ("etc/group", "root:x:0:\nnogroup:x:65534:\n")):
            tar.addfile(entry(name, 0o644, size=len(text)), io.BytesIO(text.encode()))
    return out.getvalue()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("name")
    p.add_argument("--cmd", nargs="+", default=[])
    for flag in ("env", "file", "link", "dir"):
        p.add_argument("--" + flag, action="append", default=[])
    options = p.parse_args()
    data = layer(options)
    digest = hashlib.sha256(data).hexdigest()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": options.cmd, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] + options.env},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kogge tools/image.py"}],
    }, sort_keys=True).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [options.name], "Layers": [digest + "/layer.tar"]}]).encode()
    with tarfile.open(options.out, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry(digest, 0o755, tarfile.DIRTYPE))
        for name, content in ((digest + "/layer.tar", data), (config_name, config), ("manifest.json", manifest)):
            tar.addfile(entry(name, 0o644, size=len(content)), io.BytesIO(content))


if __name__ == "__main__":
    main()
