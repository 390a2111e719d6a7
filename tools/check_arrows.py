#!/usr/bin/env python3
"""Checks that arrows point down: which folder of src/ may include which other's headers, and which calls are banned.

Usage: check_arrows.py [SOURCE_ROOT]
"""
import re
import sys
from pathlib import Path

# folder: the folders whose headers it may include, beside its own. This table is the house of ARCHITECTURE.md.
FOUNDATION = {"base", "doc"}
CLIENT_SIDE = FOUNDATION | {"net", "pki", "client"}  # parts that meet the cluster through the API only
MAY_USE = {
    "base": set(),
    "cron": {"base"},
    "doc": {"base"},
    "net": {"base"},
    "pki": {"base"},
    "seal": FOUNDATION,
    "quota": FOUNDATION,
    "claims": FOUNDATION,
    "hostports": {"base"},
    "schema": FOUNDATION,
    "store": FOUNDATION | {"schema"},
    "cache": FOUNDATION | {"schema", "store"},
    "client": FOUNDATION | {"net", "pki"},
    "api": FOUNDATION | {"net", "pki", "seal", "claims", "cron", "quota", "schema", "store", "cache", "client"},
    "network": CLIENT_SIDE,
    "node": CLIENT_SIDE | {"claims", "hostports", "network"},
    "scheduler": CLIENT_SIDE | {"claims"},
    "controllers": CLIENT_SIDE | {"claims", "cron", "hostports", "quota"},
    "edge": CLIENT_SIDE,
    "cluster": CLIENT_SIDE,
    "platform": CLIENT_SIDE,
}
# The same between the folders of a folder; all of them may use the headers that it has itself.
INSIDE = {
    "node": {"pause": set()},
    "api": {
        "auth": set(),
        "relay": set(),
        "audit": {"auth"},
        "kinds": {"auth"},
        "admission": {"auth", "relay"},
        "custom": {"relay"},
        "aggregate": {"custom", "kinds", "relay"},
        "watch": {"custom", "relay"},
    },
}
TOP = "cmd"  # puts the parts together: may use all

# call: what to use instead. Each of these reads or writes without knowing how much, or fails without saying so.
BANNED = {
    "sprintf": "snprintf, buf_printf or arena_printf",
    "vsprintf": "vsnprintf",
    "strtok": "str_next",
    "atoi": "str_i64",
    "strcpy": "arena_strdup, xstrdup or snprintf",
    "strcat": "buf_c",
    "gets": "fgets",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
CALL = re.compile(r"(?<![A-Za-z0-9_])(" + "|".join(BANNED) + r")\s*\(")
# Comments and literals hold no calls. Newlines in them stay, so that line numbers do.
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    return "\n" * match.group(0).count("\n")


def faults_of_includes(path, folder, text, modules):
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if not found or "/" not in found.group(1):
            continue
        target = found.group(1).split("/")[0]
        if target == ".." or target not in modules:
            if target == "..":
                yield f'{path}:{number}: "{found.group(1)}": include as "folder/file.h"'
            continue
        internal = found.group(1).endswith("_internal.h")
        if target != folder and internal:
            yield f"{path}:{number}: {found.group(1)} is private to src/{target}"
        if folder == TOP or target == folder or target in MAY_USE[folder]:
            continue
        allowed = ", ".join(sorted(MAY_USE[folder])) or "nothing"
        yield f"{path}:{number}: {folder} may not use {target} (it may use {allowed})"


def faults_inside(path, folder, text):
    """Of a file in src/folder/part."""
    part, may_use = path.parts[2], INSIDE.get(folder, {})
    if part not in may_use:
        return
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        target = found.group(1).split("/") if found else []
        if len(target) == 3 and target[0] == folder and target[1] != part and target[1] not in may_use[part]:
            allowed = ", ".join(sorted(may_use[part])) or "none of its neighbours"
            yield f"{path}:{number}: {folder}/{part} may not use {folder}/{target[1]} (it may use {allowed})"


def faults_of_calls(path, text):
    for number, line in enumerate(NOT_CODE.sub(blank, text).splitlines(), 1):
        for found in CALL.finditer(line):
            yield f"{path}:{number}: {found.group(1)}() is banned: use {BANNED[found.group(1)]}"


def faults(root):
    src = root / "src"
    modules = {p.name for p in src.iterdir() if p.is_dir()}
    rows = set(MAY_USE) | {TOP} | {f"{folder}/{part}" for folder in INSIDE for part in INSIDE[folder]}
    parts = {str(p.parent.relative_to(src)) for p in src.rglob("*.[ch]")} - {"."}
    for name in sorted((modules | parts) - rows):
        yield f"src/{name}: no row in the table of tools/check_arrows.py says what it may use"
    for path in sorted(src.rglob("*.[ch]")):
        relative = path.relative_to(root)
        folder = relative.parts[1]
        if len(relative.parts) < 3 or (folder != TOP and folder not in MAY_USE):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from faults_of_includes(relative, folder, text, modules)
        if len(relative.parts) > 3:
            yield from faults_inside(relative, folder, text)
        yield from faults_of_calls(relative, text)


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    found = list(faults(root))
    for fault in found:
        print(fault)
    if found:
        print(f"{len(found)} arrows point up, or calls are banned.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
